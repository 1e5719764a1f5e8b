"""Is training with `sample_noise` as private as a client's account says? Canaries are put among its samples.

One client of a made-up federation trains as a device does: its account is a file,
and the operating system draws samples and noise. A canary is a sample whose
gradient is a single value of the model, far above the clip; a fair coin decides
whether the client has it, or an empty sample instead. With almost no noise, the
same training shows how often each sample was drawn.
"""

import json
import math
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow import rng
from hedgerow.client.account import budget, spent
from hedgerow.client.app import client_app
from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.experiments.audit.bounds import composed_epsilon, gaussian_epsilon, guessed, least_epsilon
from hedgerow.experiments.audit.checks import ERRORS, Finding, Floats, canaries
from hedgerow.experiments.audit.clients import CONFIDENCE, Audit
from hedgerow.models import build
from hedgerow.privacy.ledger import Ledger
from hedgerow.server.rounds import begin, rounds
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies.presets import fedavg
from hedgerow.strategies.sampling import uniform
from hedgerow.types import LocalTraining, Samples

_LOUD = 1000.0
_WIDTH = 5  # values of the model for each sample: only the first is touched
_QUIET = 1e-4
"""A noise multiplier small enough that counts can be read off."""


def audit_samples(local: LocalTraining, *, num_rounds: int = 4, samples: int = 512, seed: int = 0) -> Audit:
    """Let a client train on canaries, with its own clip, noise, rate and account.

    Learning rate, optimizer and everything else that moves the model are plain,
    because nothing that the account counts depends on them. The audit sees what the
    client sends, the sum of its steps; the account even covers someone who sees each.

    Args:
        local: with `sample_noise`.
        num_rounds: of the run.
        samples: number of the client's; half of the canaries are included.
        seed: of the run, and of the canaries; an adversary may know it.

    Raises:
        ValueError: there is no `sample_noise`.
    """
    if not local.sample_noise:
        raise ValueError("there is no sample_noise: no account to audit")
    plain = replace(
        local, optimizer="sgd", learning_rate=1.0, learning_rate_decay=1.0, momentum=0.0, weight_decay=0.0,
        proximal=0.0, clip_gradient=0.0, sample_epsilon=0.0,
    )  # fmt: skip
    quiet = replace(plain, sample_noise=_QUIET)
    included = rng.generator(seed, "samples are there").permutation(samples) < samples / 2
    with tempfile.TemporaryDirectory() as folder:
        run = partial(_train, samples=samples, included=included, seed=seed)
        first = run(plain, num_rounds, Path(folder) / "first")
        again = run(plain, 1, Path(folder) / "again")
        counts = [run(quiet, 1, Path(folder) / name) for name in ("counts", "recounts")]
    account = spent(replace(plain, sample_adjacency="zero_out"), num_rounds)
    sigma = plain.sample_noise * math.sqrt(plain.steps(1))
    scores = first.sums[:, :samples].sum(axis=0) / (sigma * math.sqrt(num_rounds))
    silent = first.sums[:, samples:].sum(axis=0) / (sigma * math.sqrt(num_rounds))
    guesses, right = guessed(scores, included)
    bound = least_epsilon(samples, guesses, right, local.sample_delta, CONFIDENCE)
    estimate = gaussian_epsilon(silent, scores[included], local.sample_delta)
    sure = gaussian_epsilon(silent, scores[included], local.sample_delta, ERRORS)
    heard = canaries(account, local.sample_delta, samples, guesses, right, bound, sure)
    found = (
        heard,
        *_counted(counts[0].sums[0, :samples], counts[1].sums[0, :samples], included, plain),
        *_noise(first.sums[:, samples:], again.sums[:, samples:], sigma),
        _account(first, plain, num_rounds, account),
    )
    return Audit(account, local.sample_delta, bound, estimate, scores[included], silent, found)


@dataclass(frozen=True)
class _Sent:
    """What a client has sent, `(rounds, 2 samples)` in clip norms, and its account."""

    sums: Floats
    epsilon: float
    steps: tuple[int, ...]


@dataclass(frozen=True)
class _Client:
    data: Samples
    names: tuple[str, ...] = ("client",)

    def samples(self, name: str) -> Samples:
        return self.data


def _sum(outputs: Any, targets: Any) -> Any:
    """A loss whose gradient is the sample itself, for any model."""
    return -outputs.mean()


def _train(
    local: LocalTraining, num_rounds: int, folder: Path, *, samples: int, included: Any, seed: int
) -> _Sent:
    x = np.zeros((samples, _WIDTH * samples), np.float32)
    x[included, np.flatnonzero(included)] = _LOUD * max(1.0, local.clip_samples)
    trainer = TorchTrainer(Task(build("logistic", input_shape=(_WIDTH * samples,), num_classes=1), _sum))
    strategy = fedavg(sampling=uniform(1), local=local, weighted=False)
    client = _Client(Samples(x, np.zeros(samples, np.int64)))
    app = client_app(trainer, client, strategy, state_folder=folder, guard=None)
    state = begin(strategy, trainer.initial(seed), trainer.layout)
    before, sums = state.model.parameters, []
    weights = next(t for t in trainer.layout.parameters if t.name.endswith("weight"))
    place = slice(0, math.prod(weights.shape)) if trainer.layout.parameters[0] == weights else slice(1, None)
    with InProcessGrid(app, 1, names=client.names) as grid:
        for result in rounds(grid, strategy, state, trainer.layout, num_rounds=num_rounds, seed=seed):
            if result.failed:
                raise ValueError(f"the client did not train: {result.dropped or result.failed}")
            after = result.state.model.parameters
            step = local.learning_rate * local.clip_samples / local.batch_size
            sums.append((after.astype(np.float64) - before)[place] / step)
            before = after
    (file,) = folder.rglob("privacy.jsonl")
    ledger = Ledger(budget(local), file)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return _Sent(np.stack(sums), ledger.epsilon, tuple(int(line.get("times", 1)) for line in lines))


def _counted(once: Floats, twice: Floats, included: Any, local: LocalTraining) -> tuple[Finding, Finding]:
    """Samples were drawn at the right rate, independently, and not by the run's seed."""
    steps, rate = local.steps(1), local.sample_rate
    counts = np.concatenate([once[included], twice[included]])
    off = float(np.abs(counts - np.rint(counts)).max())
    error = math.sqrt(rate * (1 - rate) / (steps * len(counts)))
    seen, allowed = float(counts.mean()) / steps, rate + ERRORS * error + 1e-3 * rate
    variance = steps * rate * (1 - rate)
    within = float(once[included].var() + twice[included].var()) / 2
    spread = within / variance if variance else 1.0
    least = 1 - ERRORS * math.sqrt(2 / len(counts)) - 0.02 if variance else 0.0
    same = float((np.rint(once[included]) == np.rint(twice[included])).mean())
    return (
        Finding(
            "sample clip", off <= 0.02 and float(counts.max()) <= steps + 0.02,
            f"a sample counts by whole clip norms to {off:.3f}; at most 0.02",
        ),
        Finding(
            "sample batches", bool(seen <= allowed and spread >= least and (rate == 1 or same < 1)),
            f"a sample was in {seen:.4f} of all steps; at most {allowed:.4f}; how often varies {spread:.2f}"
            f" times as independent draws do; at least {least:.2f}; {same:.0%} are as in a second run with"
            " the same seed",
        ),
    )  # fmt: skip


def _noise(first: Floats, again: Floats, sigma: float) -> tuple[Finding, Finding]:
    """Each value has the counted noise, independent of the run's seed and of other rounds."""
    ratio, allowed = float(first.std() / sigma), 1 - ERRORS / math.sqrt(2 * first.size)
    drawn = np.concatenate([first, again])
    with np.errstate(invalid="ignore"):
        correlation = np.nan_to_num(np.corrcoef(drawn), nan=1.0)
    np.fill_diagonal(correlation, 0.0)
    largest, most = float(np.abs(correlation).max()), ERRORS / math.sqrt(drawn.shape[1])
    return (
        Finding(
            "sample noise", ratio >= allowed,
            f"what is sent has {ratio:.3f} of the counted noise; at least {allowed:.3f}",
        ),
        Finding(
            "sample freshness", largest <= most,
            f"noise of two rounds, or of two runs with one seed, correlates by {largest:.2f}; at most"
            f" {most:.2f}",
        ),
    )  # fmt: skip


def _account(first: _Sent, local: LocalTraining, num_rounds: int, claimed: float) -> Finding:
    """The account in the client's folder holds every step, and its epsilon is not too small."""
    steps = num_rounds * local.epochs * math.ceil(1 / local.sample_rate)
    own = claimed if local.sample_adjacency == "replace" else first.epsilon
    least = (
        composed_epsilon(local.sample_noise, local.sample_rate, steps, local.sample_delta, own)
        if own < 100
        else 0
    )
    return Finding(
        "sample account",
        sum(first.steps) == steps and own >= 0.997 * least - 1e-3,
        f"the account holds {sum(first.steps)} of {steps} steps, epsilon {own:.3f}; computed without it,"
        f" {least:.3f} or more",
    )
