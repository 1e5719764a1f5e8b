"""What a private strategy must look like from outside, canary by canary.

Each bound leaves 6 standard errors: a sound strategy is refused in about one
of a hundred million checks.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hedgerow.strategies.release import Noise
from hedgerow.strategies.strategy import Strategy

ERRORS = 6.0


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        name: of the check.
        holds: whether it came out as the ledger says.
        text: what was seen, and what is allowed.
    """

    name: str
    holds: bool
    text: str


@dataclass(frozen=True)
class Listened:
    """Scores of a run, in clip norms.

    Attributes:
        sent: `(rounds, canaries)` of the clients' canaries.
        present: `(rounds, canaries)` whether the client took part.
        silent: `(rounds, directions)` of directions that nobody sent.
        sizes: `(rounds,)` clients that took part.
        reaches: `(rounds,)` the sensitivity of a round's sum.
        population: of clients.
    """

    sent: NDArray[np.float64]
    present: NDArray[np.bool_]
    silent: NDArray[np.float64]
    sizes: NDArray[np.int64]
    reaches: NDArray[np.float64]
    population: int


def findings(listened: Listened, strategy: Strategy) -> list[Finding]:
    """Every check that applies to the strategy."""
    noise = strategy.release.noise
    length = math.sqrt(math.fsum(band**2 for band in noise.bands))
    drawn = _drawn(listened.silent, noise)
    return [
        _loudness(listened),
        _noise(drawn, noise.multiplier * length * listened.reaches),
        _fresh(drawn),
        _rotation(listened, strategy.sampling.groups)
        if strategy.sampling.groups
        else _draws(listened, float(strategy.sampling.rate or 1.0)),
    ]


def _drawn(silent: NDArray[np.float64], noise: Noise) -> NDArray[np.float64]:
    """The noise that was drawn in each round, where later rounds take it off again."""
    drawn = silent.copy()
    for back, band in enumerate(noise.bands[1:], start=1):
        drawn[back:] += band * silent[:-back]
    return drawn


def _loudness(listened: Listened) -> Finding:
    """No client moves the sum by more than the clip norm: in no round, and not on average."""
    worst, allowed = -math.inf, 0.0
    by_round = zip(listened.sent, listened.present, listened.silent.std(axis=1), strict=True)
    heard = [
        (scores[there].mean(), spread / math.sqrt(there.sum()))
        for scores, there, spread in by_round
        if there.any()
    ]
    for mean, error in heard:
        # Canaries touch each other a little; rounding and compression are within the tolerance.
        limit = 1.02 + ERRORS * float(error)
        if worst == -math.inf or mean - limit > worst - allowed:
            worst, allowed = float(mean), limit
    if not heard:
        return Finding("sensitivity", True, "no client took part in any round")
    means, errors = np.array(heard).T
    limit = 1.02 + ERRORS * math.sqrt(float((errors**2).sum())) / len(heard)
    if means.mean() - limit > worst - allowed:
        worst, allowed = float(means.mean()), limit
    return Finding(
        "sensitivity",
        worst <= allowed,
        f"a client moves the sum by {worst:.2f} clip norms; at most {allowed:.2f}",
    )


def _noise(drawn: NDArray[np.float64], sigma: NDArray[np.float64]) -> Finding:
    """Each round has at least the noise that is counted."""
    ratio = float((drawn.std(axis=1) / sigma).min())
    allowed = 1 - ERRORS / math.sqrt(2 * drawn.shape[1])
    return Finding(
        "noise",
        ratio >= allowed,
        f"a round has {ratio:.2f} of the noise that is counted, or more; at least {allowed:.2f}",
    )


def _fresh(drawn: NDArray[np.float64]) -> Finding:
    """No round's noise tells of another's: else their difference has less."""
    with np.errstate(invalid="ignore"):
        correlation = np.atleast_2d(np.nan_to_num(np.corrcoef(drawn), nan=1.0))
    np.fill_diagonal(correlation, 0.0)
    largest = float(np.abs(correlation).max())
    allowed = ERRORS / math.sqrt(drawn.shape[1])
    return Finding(
        "freshness",
        largest <= allowed,
        f"noise of two rounds correlates by {largest:.2f}; at most {allowed:.2f}",
    )


def _draws(listened: Listened, rate: float) -> Finding:
    """Cohorts are coin flips: of the right rate, and of varying size."""
    flips = listened.population * len(listened.sizes)
    seen = float(listened.sizes.sum()) / flips
    error = math.sqrt(rate * (1 - rate) / flips)
    variance = listened.population * rate * (1 - rate)
    # A chi-square of n rounds is below (1 - 2 / 9n - 5 sqrt(2 / 9n))^3 n for one in a few million.
    part = 2 / (9 * len(listened.sizes))
    least = max(0.0, 1 - part - 5 * math.sqrt(part)) ** 3
    spread = (
        float(np.square(listened.sizes - rate * listened.population).mean()) / variance if variance else 1.0
    )
    holds = seen <= rate + ERRORS * error + 1e-12 and spread >= least
    return Finding(
        "sampling",
        holds,
        f"a client was in {seen:.3f} of all rounds; at most {rate + ERRORS * error:.3f}; cohort sizes vary"
        f" {spread:.2f} times as independent draws do; at least {least:.2f}",
    )


def _rotation(listened: Listened, groups: int) -> Finding:
    """A client's rounds are far enough apart."""
    closest = groups
    for took_part in listened.present.T:
        turns = np.flatnonzero(took_part)
        if len(turns) > 1:
            closest = min(closest, int(np.diff(turns).min()))
    return Finding(
        "sampling", closest >= groups, f"two rounds of a client are {closest} apart; at least {groups}"
    )
