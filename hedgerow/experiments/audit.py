"""Is a private strategy as private as its ledger says? Canaries are sent through it and listened for.

Every client of a made-up federation sends a canary: its own random direction,
far longer than the clip. In many dimensions such directions hardly touch each
other, so that one run tells of all canaries at once (Andrew et al. 2023,
arXiv:2302.03098). A canary's score in a round is the released sum along it, in
clip norms: about 1 where it took part, 0 where it did not, with noise of the
multiplier that the ledger counts. Directions that nobody sent show the noise
alone.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks, rng
from hedgerow.client.app import client_app
from hedgerow.experiments.audit_checks import Finding, Listened, findings
from hedgerow.privacy.ledger import Ledger
from hedgerow.server.rounds import begin, rounds
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies.server_update import sgd
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import ClientNames, Fit, Layout, LocalTraining, Model, Samples, Vector

ALLOWED = 1.5
"""The empirical epsilon may be so many times the ledger's: it is an estimate."""

_LOUD = 10.0
_SILENT = 1000


@dataclass(frozen=True)
class Audit:
    """What was heard.

    Attributes:
        epsilon: of the ledger, over the audited rounds.
        delta: of both epsilons.
        empirical: the epsilon that the canaries' scores speak for, at least.
        sent: `(canaries,)` largest score of each that took part in a cohort's draw.
        silent: `(directions,)` the same of directions that nobody sent.
        findings: what was checked, and how it came out.
    """

    epsilon: float
    delta: float
    empirical: float
    sent: NDArray[np.float64]
    silent: NDArray[np.float64]
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the ledger."""
        return all(finding.holds for finding in self.findings)


def audit(strategy: Strategy, *, num_rounds: int = 30, dimension: int = 2048, seed: int = 0) -> Audit:
    """Run a private strategy on canaries, with its own sampling, pipeline, noise and ledger.

    Local training, the server's update and the budget's limit are left out:
    nothing that the ledger counts on depends on them.

    Args:
        strategy: a private one.
        num_rounds: rounds to run.
        dimension: values of the made-up model.
        seed: of the canaries; the noise is that of a simulation.

    Raises:
        ValueError: the strategy is not private, or a number is out of range.
    """
    if strategy.budget is None:
        raise ValueError(
            f"{strategy.name} is not private: it has no ledger to audit; audit one such as dp_fedavg"
        )
    checks.whole(2, num_rounds=num_rounds)
    checks.whole(256, dimension=dimension)
    listened, ledger = _run(strategy, num_rounds, dimension, seed)
    if not len(listened.sizes):
        raise ValueError(
            f"in {num_rounds} rounds nothing was released: too few clients were left; allow more"
        )
    sent, silent = listened.sent.max(axis=0), listened.silent.max(axis=0)
    delta = strategy.budget.delta
    empirical = gaussian_epsilon(silent, sent, delta)
    allowed = ALLOWED * ledger.epsilon
    heard = Finding(
        "canaries",
        empirical <= allowed,
        f"their scores speak for epsilon {empirical:.2f} or more; at most {allowed:.2f} is allowed,"
        f" {ALLOWED:g} times the ledger's {ledger.epsilon:.2f}",
    )
    return Audit(ledger.epsilon, delta, empirical, sent, silent, (heard, *findings(listened, strategy)))


def gaussian_epsilon(silent: NDArray[np.float64], sent: NDArray[np.float64], delta: float) -> float:
    """The smallest epsilon for which normal fits of two sets of scores are (epsilon, delta) alike.

    arXiv:2302.03098, algorithm 2, in both directions. Few canaries tell their
    mean and spread badly: both are taken two standard errors to the safe side,
    so that the scores speak for at least this epsilon, in 19 of 20 audits.

    >>> random = np.random.default_rng(0)
    >>> round(gaussian_epsilon(random.normal(0, 1, 10**6), random.normal(1, 1, 10**6), 1e-5), 1)
    4.4
    """
    spread, errors = max(float(silent.std()), 1e-12), 2 / math.sqrt(len(sent))
    wide = max(float(sent.std()), 1e-12) / spread
    apart = (float(sent.mean()) - float(silent.mean())) / spread
    low = (0.0, 1.0)
    high = (max(0.0, apart - errors * wide), max(min(wide, 1.0), wide * (1 - errors / math.sqrt(2))))

    def holds(epsilon: float) -> bool:
        return max(_beyond(high, low, epsilon), _beyond(low, high, epsilon)) <= delta

    upper = 0.01
    while not holds(upper):
        upper *= 2
        if upper > 1e3:
            return math.inf
    lower = 0.0
    for _ in range(40):
        middle = (lower + upper) / 2
        lower, upper = (lower, middle) if holds(middle) else (middle, upper)
    return upper


def _beyond(p: tuple[float, float], q: tuple[float, float], epsilon: float) -> float:
    """The delta of two normal densities, by summing where one exceeds `exp(epsilon)` times the other."""
    reach = 12 * max(p[1], q[1])
    x = np.linspace(min(p[0], q[0]) - reach, max(p[0], q[0]) + reach, 20001)
    log_p, log_q = (-0.5 * ((x - m) / s) ** 2 - math.log(s * math.sqrt(2 * math.pi)) for m, s in (p, q))
    excess = np.exp(log_p) - np.exp(np.minimum(log_q + epsilon, 700.0))
    return float(np.maximum(excess, 0).sum() * (x[1] - x[0]))


@dataclass(frozen=True)
class _Canaries:
    """A federation whose clients each send one direction."""

    names: Sequence[str]

    def samples(self, name: str) -> Samples:
        return Samples(np.zeros((1, 1), np.float32), np.zeros(1, np.int64))


@dataclass(frozen=True)
class _Sends:
    """A trainer whose delta is the client's canary, much longer than any clip norm."""

    layout: Layout
    length: float

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
        delta = direction(self.layout.dimension, seed, client) * np.float32(self.length)
        return Fit(delta, np.empty(0, np.float32), len(data))

    def evaluate(self, model: Model, data: Samples) -> dict[str, float]:
        return {}


@lru_cache(maxsize=4096)
def direction(dimension: int, seed: int, client: str) -> NDArray[np.float32]:
    """A random direction of its own for each client, `(d,) float32` of length 1."""
    drawn = rng.generator(seed, "canary", client=client).standard_normal(dimension)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def _run(strategy: Strategy, num_rounds: int, dimension: int, seed: int) -> tuple[Listened, Ledger]:
    assert strategy.budget is not None
    release, sampling = strategy.release, strategy.sampling
    population = round((sampling.expected or 1.0) * (sampling.groups or 1 / (sampling.rate or 1.0)))
    names = ClientNames(max(1, population))
    alone = replace(
        strategy, server_update=sgd(1.0), budget=replace(strategy.budget, epsilon=None), max_norm=None
    )
    layout = Layout.flat(dimension)
    trainer = _Sends(layout, _LOUD * max(1.0, release.bounding.norm(release.bounding.init())))
    ledger = Ledger(alone.budget or strategy.budget)
    state = begin(alone, trainer.initial(seed), layout)
    before, norm = state.model.parameters, release.bounding.norm(state.private)
    sums, cohorts, reaches = [], [], []
    # A masked sum is, bit for bit, the same without masks.
    app = client_app(trainer, _Canaries(names), alone, unmasked=True, seeded_noise=True, guard=None)
    with InProcessGrid(app, len(names), names=names) as grid:
        for result in rounds(
            grid, alone, state, layout,
            num_rounds=num_rounds, seed=seed, ledger=ledger, masks=False, seeded_noise=True,
        ):  # fmt: skip
            if result.failed:  # nothing was released
                continue
            after = result.state.model.parameters
            sums.append((after.astype(np.float64) - before) * (release.expected / norm))
            cohorts.append(frozenset(result.cohort) - set(result.dropped))
            reaches.append(release.reach(norm) / norm)
            before, norm = after, release.bounding.norm(result.state.private)
    return _listen(sums, cohorts, reaches, names, dimension, seed), ledger


def _listen(
    sums: list[NDArray[np.float64]],
    cohorts: list[frozenset[str]],
    reaches: list[float],
    names: Sequence[str],
    dimension: int,
    seed: int,
) -> Listened:
    if not sums:
        nothing = np.empty((0, 0))
        return Listened(
            nothing, nothing.astype(bool), nothing, np.empty(0, np.int64), np.empty(0), len(names)
        )
    took_part = sorted(set().union(*cohorts)) or [names[0]]
    canaries = np.stack([direction(dimension, seed, name) for name in took_part])
    nobody = rng.generator(seed, "silent").standard_normal((_SILENT, dimension))
    nobody /= np.linalg.norm(nobody, axis=1, keepdims=True)
    released = np.stack(sums)
    return Listened(
        sent=released @ canaries.T,
        present=np.array([[name in cohort for name in took_part] for cohort in cohorts]),
        silent=released @ nobody.T,
        sizes=np.array([len(cohort) for cohort in cohorts]),
        reaches=np.array(reaches),
        population=len(names),
    )


def described(audit: Audit) -> Iterator[str]:
    """The verdict for a person, a line each."""
    for finding in audit.findings:
        yield f"{'ok  ' if finding.holds else 'FAIL'} {finding.name}: {finding.text}"
    if audit.passed:
        told = f"epsilon {audit.epsilon:.2f}, delta {audit.delta:g}"
        yield f"Nothing speaks against {told}; an audit is no proof."
    else:
        yield f"The strategy is not as private as its ledger says (epsilon {audit.epsilon:.2f})."


def draw(audit: Audit, file: Path) -> None:
    """Draw the scores of canaries and of directions that nobody sent, as a PNG.

    Raises:
        ImportError: matplotlib is missing; with the command that installs it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('a plot needs matplotlib; install with: pip install "hedgerow[report]"') from error
    figure = Figure(figsize=(7, 3.6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    edges = np.histogram_bin_edges(np.concatenate([audit.sent, audit.silent]), 40).tolist()
    for scores, label, colour in (
        (audit.silent, "nobody sent it", "#7f7f7f"),
        (audit.sent, "sent by a client", "#d1495b"),
    ):
        axes.hist(scores, edges, density=True, alpha=0.6, label=label, color=colour)
    axes.set_xlabel("largest score of a direction in any round, in clip norms")
    axes.set_ylabel("density")
    verdict = "nothing speaks against it" if audit.passed else "NOT as private as that"
    axes.set_title(
        f"epsilon {audit.epsilon:.2f} at delta {audit.delta:g}; canaries: {audit.empirical:.2f}; {verdict}",
        fontsize=9,
    )
    axes.legend(frameon=False)
    figure.savefig(file)
