"""Is a private strategy as private as its ledger says? Canaries are sent through a deployment.

Nothing on which epsilon rests is simulated: the noise is the operating system's,
the ledger is on disk, and clients encode and add their noise as on a device. Every
client of a made-up federation has a canary, its own random direction, and a fair
coin decides whether it sends it, with a norm far above the clip, or nothing. In
high dimensions random directions hardly overlap, so a single run tests all canaries
at once (Andrew et al. 2023, arXiv:2302.03098; Steinke et al. 2023, arXiv:2305.08846).
"""

import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks, rng
from hedgerow.client.app import client_app
from hedgerow.experiments.audit.bounds import gaussian_epsilon, guessed, least_epsilon
from hedgerow.experiments.audit.checks import ERRORS, Deployed, Finding, canaries, composed, findings
from hedgerow.privacy.ledger import Ledger
from hedgerow.server.rounds import begin, rounds
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies.server_update import ServerUpdate, sgd
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.streams import Totals
from hedgerow.types import (
    Arrays,
    ClientNames,
    Deployment,
    Fit,
    Layout,
    LocalTraining,
    Model,
    Samples,
    Vector,
)

CONFIDENCE = 0.95
_LOUD = 10.0
_SILENT = 1000


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Attributes:
        epsilon: of the ledger, over the audited rounds, for zeroing out.
        delta: of all epsilons.
        bound: epsilon is above this, by guesses about who sent a canary, with
            95 % confidence.
        estimate: epsilon estimated from normal fits of the canaries' scores.
        sent: `(canaries,)` scores over all rounds of the canaries that were sent.
        silent: `(directions,)` the same for directions that nobody sent.
        findings: results of all checks.
    """

    epsilon: float
    delta: float
    bound: float
    estimate: float
    sent: NDArray[np.float64]
    silent: NDArray[np.float64]
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether no check contradicts the ledger."""
        return all(finding.holds for finding in self.findings)


def audit(strategy: Strategy, *, num_rounds: int = 30, dimension: int = 2048, seed: int = 0) -> Audit:
    """Audit a private strategy with canaries, using its own sampling, pipeline, noise and ledger.

    Local training, the server's update and the budget's limit are left out, because
    nothing that the ledger relies on depends on them. `audit_samples` covers training
    with `sample_noise`. Masks are left out too: the audit sees what would be unmasked.
    A second deployment has the same seed and, if nothing is compressed, clients that
    do not clip.

    Args:
        strategy: a private strategy.
        num_rounds: rounds to run.
        dimension: values of the made-up model.
        seed: of the run, and of the canaries; an adversary may know it.

    Raises:
        ValueError: the strategy is not private, or a number is out of range.
    """
    if strategy.budget is None:
        raise ValueError(
            f"{strategy.name} is not private: it has no ledger to audit; audit one such as dp_fedavg"
        )
    checks.whole(2, num_rounds=num_rounds)
    checks.whole(256, dimension=dimension)
    delta = strategy.budget.delta
    with tempfile.TemporaryDirectory() as folder:
        first = _deploy(strategy, num_rounds, dimension, seed, Path(folder) / "privacy.jsonl")
        again = _deploy(_unclipped(strategy), num_rounds, dimension, seed, Path(folder) / "again.jsonl")
        unwritten = _deploy(strategy, 1, dimension, seed, Path(folder) / "missing" / "privacy.jsonl")
        found = findings(first, again, unwritten)
    if not len(first.sums) or first.canaries is None:
        return Audit(first.epsilon, delta, 0.0, 0.0, np.empty(0), np.empty(0), tuple(found))
    scores = composed(first, first.canaries)
    silent = composed(first, _nobody(dimension, seed))
    sent = scores[first.included]
    guesses, right = guessed(scores, first.included)
    bound = least_epsilon(len(scores), guesses, right, delta, CONFIDENCE)
    estimate = gaussian_epsilon(silent, sent, delta) if len(sent) > 1 else 0.0
    sure = gaussian_epsilon(silent, sent, delta, ERRORS) if len(sent) > 1 else 0.0
    heard = canaries(first.epsilon, delta, len(scores), guesses, right, bound, sure)
    return Audit(first.epsilon, delta, bound, estimate, sent, silent, (heard, *found))


@dataclass(frozen=True)
class _Canaries:
    """A federation whose clients' samples do not matter."""

    names: Sequence[str]

    def samples(self, name: str) -> Samples:
        return Samples(np.zeros((1, 1), np.float32), np.zeros(1, np.int64))


@dataclass(frozen=True)
class _Sends:
    """A trainer whose delta is the client's canary, far above any clip norm, or zero.

    It ignores how clients would train: `supports` is whatever their strategy needs.
    """

    layout: Layout
    length: float
    seed: int
    supports: frozenset[str]

    def initial(self, seed: int) -> Model:
        return Model(np.zeros(self.layout.dimension, np.float32))

    def fit(
        self,
        model: Model,
        data: Samples,
        local: LocalTraining,
        *,
        seed: int,
        round: int,
        client: str,
        correction: Vector | None = None,
    ) -> Fit:
        length = self.length if is_included(self.seed, client) else 0.0
        delta = direction(self.layout.dimension, self.seed, client) * np.float32(length)
        return Fit(delta, np.empty(0, np.float32), len(data))

    def evaluate(self, model: Model, data: Samples) -> dict[str, float]:
        return {}


def is_included(seed: int, client: str) -> bool:
    """A fair coin for each client."""
    return bool(rng.integer_seed(seed, "canary is sent", client=client) % 2)


@lru_cache(maxsize=8)
def silent_values(dimension: int, seed: int) -> NDArray[np.int64]:
    """Half of the values, `(d / 2,)`, which no canary touches, so that they hold only noise."""
    return np.sort(rng.generator(seed, "silent values").permutation(dimension)[: dimension // 2])


@lru_cache(maxsize=4096)
def direction(dimension: int, seed: int, client: str) -> NDArray[np.float32]:
    """A client's own random direction, `(d,) float32` of norm 1."""
    drawn = rng.generator(seed, "canary", client=client).standard_normal(dimension)
    drawn[silent_values(dimension, seed)] = 0.0
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def _nobody(dimension: int, seed: int) -> NDArray[np.float64]:
    """Directions that no client has, `(directions, d)`."""
    drawn = rng.generator(seed, "silent").standard_normal((_SILENT, dimension))
    drawn[:, silent_values(dimension, seed)] = 0.0
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


def _unclipped(strategy: Strategy) -> Strategy:
    """The strategy with clients that do not clip, if the server can read their updates."""
    pipeline = strategy.pipeline
    if set(pipeline.kinds) - {"clip", "noise"}:
        return strategy
    return replace(strategy, pipeline=replace(pipeline, encode=lambda payload, state, context: (payload, {})))


@dataclass
class _Watched:
    """A server update that checks whether the ledger on disk has a line for each sum it gets."""

    file: Path
    applied: int = 0
    unwritten: int = 0

    @cached_property
    def rule(self) -> ServerUpdate:
        plain = sgd(1.0)

        def apply(parameters: Vector, delta: Vector, state: Arrays, totals: Totals) -> tuple[Vector, Arrays]:
            self.applied += 1
            lines = self.file.read_bytes().count(b"\n") if self.file.is_file() else 0
            self.unwritten += lines < self.applied
            return plain(parameters, delta, state, totals)

        return ServerUpdate(plain.name, plain.init, apply)


def _deploy(strategy: Strategy, num_rounds: int, dimension: int, seed: int, file: Path) -> Deployed:
    assert strategy.budget is not None
    release, sampling = strategy.release, strategy.sampling
    population = round((sampling.expected or 1.0) * (sampling.groups or 1 / (sampling.rate or 1.0)))
    names = ClientNames(max(1, population))
    watched = _Watched(file)
    budget = replace(strategy.budget, epsilon=None, adjacency="zero_out")
    alone = replace(strategy, server_update=watched.rule, budget=budget, max_norm=None)
    layout = Layout.flat(dimension)
    loud = _LOUD * max(1.0, release.server_clip.norm(release.server_clip.init()))
    trainer = _Sends(layout, loud, seed, alone.needs - {"sample_noise"})
    ledger = Ledger(budget, file)
    state = begin(alone, trainer.initial(seed), layout)
    before, norm = state.model.parameters, release.norm(state.private)
    sums, cohorts, reaches, numbers = [], [], [], []
    app = client_app(trainer, _Canaries(names), alone, deployment=Deployment.REHEARSED, guard=None)
    with InProcessGrid(app, len(names), names=names) as grid:
        for result in rounds(
            grid, alone, state, layout,
            num_rounds=num_rounds, seed=seed, ledger=ledger, deployment=Deployment.REHEARSED,
        ):  # fmt: skip
            after = result.state.model.parameters
            if not np.array_equal(after, before):  # it was released, whatever the result says
                sums.append((after.astype(np.float64) - before) * (release.expected / norm))
                cohorts.append(frozenset(result.cohort) - set(result.dropped))
                reaches.append(release.sensitivity(norm) / norm)
                numbers.append(result.round)
            before, norm = after, release.server_clip.norm(result.state.private)
    asked = sorted(set().union(*cohorts)) if sampling.groups else list(names)
    return Deployed(
        strategy=strategy,
        sums=np.stack(sums) if sums else np.empty((0, dimension)),
        canaries=np.stack([direction(dimension, seed, name) for name in asked]) if asked else None,
        included=np.array([is_included(seed, name) for name in asked], bool),
        present=np.array([[name in cohort for name in asked] for cohort in cohorts], bool),
        silent=silent_values(dimension, seed),
        reaches=np.array(reaches),
        numbers=tuple(numbers),
        cohorts=tuple(cohorts),
        population=len(names),
        epsilon=ledger.epsilon,
        recorded=ledger.releases,
        unwritten=watched.unwritten,
        reread=Ledger(strategy.budget, file).epsilon if file.is_file() else math.nan,
        noises=_noises(file),
    )


def _noises(file: Path) -> frozenset[str]:
    """The sources of noise that the ledger names."""
    lines = file.read_text().splitlines() if file.is_file() else []
    return frozenset(str(json.loads(line)["noise"]) for line in lines)
