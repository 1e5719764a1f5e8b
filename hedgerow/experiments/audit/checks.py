"""What a private deployment must look like from outside, checked by canaries.

Each bound leaves 6 standard errors: a sound strategy fails in about one
of a hundred million checks.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hedgerow.experiments.audit.bounds import chance, composed_epsilon
from hedgerow.privacy.adjacency import sensitivity
from hedgerow.strategies.strategy import Strategy

ERRORS = 6.0
ALLOWED = 1.5
"""The estimate may be this many times the ledger's epsilon, because normal fits have no stated confidence."""

SURE = 1e-6
"""Guesses refute an epsilon if they would be luck in fewer than this fraction of runs."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        name: of the check.
        holds: whether the result agrees with the ledger.
        text: what was measured, and what is allowed.
    """

    name: str
    holds: bool
    text: str


@dataclass(frozen=True)
class Deployed:
    """What one deployment released.

    Attributes:
        strategy: the one deployed.
        sums: `(releases, d)`, in clip norms.
        canaries: `(clients, d)`, of norm 1; `None` if no client took part.
        included: `(clients,)` whether the canary is sent.
        present: `(releases, clients)` whether a client took part.
        silent: values that no canary touches.
        reaches: `(releases,)` the sensitivity of a sum, in clip norms.
        numbers: of the rounds that released.
        cohorts: of these rounds.
        population: of clients.
        epsilon: of the ledger, for zeroing out.
        recorded: number of releases in it.
        unwritten: number of sums that reached the model before their line was on disk.
        reread: epsilon of the ledger's file, for the strategy's own adjacency; NaN if there is none.
        noises: the sources of noise that the file names.
    """

    strategy: Strategy
    sums: Floats
    canaries: NDArray[np.float32] | None
    included: NDArray[np.bool_]
    present: NDArray[np.bool_]
    silent: NDArray[np.int64]
    reaches: Floats
    numbers: tuple[int, ...]
    cohorts: tuple[frozenset[str], ...]
    population: int
    epsilon: float
    recorded: int
    unwritten: int
    reread: float
    noises: frozenset[str]

    @property
    def drawn(self) -> Floats:
        """The noise drawn in each round for the silent values, `(releases, silent)`."""
        return _taken_off_again(self.strategy, self.sums[:, self.silent])

    @property
    def sigma(self) -> Floats:
        """The standard deviation of each release on which the ledger relies."""
        noise = self.strategy.release.noise
        return noise.multiplier * math.sqrt(math.fsum(b**2 for b in noise.bands)) * self.reaches


def findings(first: Deployed, again: Deployed, unwritten: Deployed) -> list[Finding]:
    """All checks that apply: `again` has the seed of `first`, and `unwritten` an unwritable ledger."""
    if not len(first.sums):
        return [Finding("release", False, f"in {len(first.cohorts) or 'all'} rounds nothing was released")]
    sampling = first.strategy.sampling
    return [
        _loudness([first, again]),
        _noise(first),
        _fresh([first, again]),
        _rotation(first, sampling.groups) if sampling.groups else _draws(first, float(sampling.rate or 1.0)),
        *([] if sampling.groups or sampling.rate == 1 else [_secret_cohorts(first, again)]),
        _ledger(first, unwritten),
        _account(first),
    ]


def canaries(
    epsilon: float, delta: float, number: int, guesses: int, right: int, bound: float, sure: float
) -> Finding:
    """Check epsilon against guesses and scores."""
    luck = chance(number, guesses, right, epsilon, delta)
    allowed = ALLOWED * epsilon
    return Finding(
        "canaries",
        luck > SURE and sure <= allowed,
        f"{right} of {guesses} guesses about {number} canaries are right: epsilon is {bound:.2f} or more"
        f" (95 %); their scores show at least {sure:.2f}, at most {allowed:.2f} is allowed; the ledger"
        f" says {epsilon:.2f}",
    )


def composed(deployed: Deployed, directions: NDArray[np.generic]) -> Floats:
    """One score for each direction, `(directions,)`, over all releases, normalised to noise of 1.

    If clients take turns, everybody knows whose turn it is, so only the releases
    in which a client shows are added up; otherwise all are.
    """
    strategy = deployed.strategy
    scores = _taken_off_again(strategy, deployed.sums @ directions.T.astype(np.float64))
    turns = np.ones((len(scores), 1))
    if strategy.sampling.groups:
        patterns = _taken_off_again(strategy, deployed.present.astype(np.float64))
        turns = patterns[:, np.arange(scores.shape[1]) % patterns.shape[1]]
    weights = turns / deployed.sigma[:, None]
    found = (weights * scores / deployed.sigma[:, None]).sum(axis=0)
    return np.asarray(found / np.maximum(np.sqrt((weights**2).sum(axis=0)), 1e-300))


def _taken_off_again(strategy: Strategy, values: Floats) -> Floats:
    """`C` times the releases, `(releases, n)`: the noise drawn, and every trace of a participation."""
    found = values.copy()
    for back, band in enumerate(strategy.release.noise.bands[1:], start=1):
        found[back:] += band * values[:-back]
    return found


def _loudness(deployments: list[Deployed]) -> Finding:
    """No client moves the sum by more than the clip norm, neither in any round nor on average."""
    worst, allowed = -math.inf, 0.0
    for deployed in deployments:
        heard = []
        for total, there, sigma in zip(deployed.sums, deployed.present, deployed.sigma, strict=True):
            sent = there & deployed.included
            if deployed.canaries is not None and sent.any():
                scores = deployed.canaries[sent] @ total
                # Canaries overlap slightly: each is noise to all others.
                spread = math.hypot(max(sigma, 0.0), math.sqrt(2 * sent.sum() / len(total)))
                heard.append((scores.mean(), spread / math.sqrt(sent.sum())))
        if not heard:
            continue
        means, errors = np.array(heard).T
        over_all = means.mean(), 1.02 + ERRORS * math.sqrt(float((errors**2).sum())) / len(heard)
        for mean, limit in [*zip(means, 1.02 + ERRORS * errors, strict=True), over_all]:
            if mean - limit > worst - allowed or worst == -math.inf:
                worst, allowed = float(mean), float(limit)
    if worst == -math.inf:
        return Finding("sensitivity", True, "no client sent a canary in any round")
    text = f"a client moves the sum by {worst:.2f} clip norms; at most {allowed:.2f}"
    return Finding("sensitivity", worst <= allowed, text)


def _noise(deployed: Deployed) -> Finding:
    """Each round, and all together, have the counted noise; clients' noise must be independent."""
    ratios = deployed.drawn.std(axis=1) / deployed.sigma
    values = deployed.drawn.shape[1]
    least, mean = float(ratios.min()), float(np.sqrt((ratios**2).mean()))
    error = ERRORS / math.sqrt(2 * values)
    allowed, allowed_mean = 1 - error, 1 - ERRORS / math.sqrt(2 * deployed.drawn.size)
    min_honest = deployed.strategy.release.noise.min_honest
    most = 1.0
    if min_honest:  # independent parts; shared ones would add up to more
        most = float((ratios / np.sqrt([len(c) / min_honest for c in deployed.cohorts])).max())
    return Finding(
        "noise",
        least >= allowed and mean >= allowed_mean and most <= 1.05 + error,
        f"a round has {least:.2f} or more of the counted noise; at least {allowed:.2f}; all together"
        f" have {mean:.3f}; at least {allowed_mean:.3f}"
        + f"; of independent parts {most:.2f}"
        * bool(min_honest),
    )


def _fresh(deployments: list[Deployed]) -> Finding:
    """Noise is independent between rounds, and between runs with the same seed."""
    drawn = np.concatenate([d.drawn for d in deployments])
    with np.errstate(invalid="ignore"):
        correlation = np.atleast_2d(np.nan_to_num(np.corrcoef(drawn), nan=1.0))
    np.fill_diagonal(correlation, 0.0)
    count = len(deployments[0].sums)
    within, across = (
        np.abs(correlation[:count, :count]).max(),
        np.abs(correlation[:count, count:]).max(initial=0),
    )
    allowed = ERRORS / math.sqrt(drawn.shape[1])
    return Finding(
        "freshness",
        bool(max(within, across) <= allowed),
        f"noise of two rounds correlates by {within:.2f}, of two runs with one seed by {across:.2f}; at most"
        f" {allowed:.2f}",
    )


def _draws(deployed: Deployed, rate: float) -> Finding:
    """Cohorts are drawn by coin flips: at the right rate, and with varying size."""
    sizes = np.array([len(cohort) for cohort in deployed.cohorts])
    flips = deployed.population * len(sizes)
    seen = float(sizes.sum()) / flips
    error = math.sqrt(rate * (1 - rate) / flips)
    variance = deployed.population * rate * (1 - rate)
    # A chi-square of n rounds is below (1 - 2 / 9n - 5 sqrt(2 / 9n))^3 n for one in a few million.
    part = 2 / (9 * len(sizes))
    least = max(0.0, 1 - part - 5 * math.sqrt(part)) ** 3
    spread = float(np.square(sizes - rate * deployed.population).mean()) / variance if variance else 1.0
    holds = seen <= rate + ERRORS * error + 1e-12 and spread >= least
    return Finding(
        "sampling",
        holds,
        f"a client was in {seen:.3f} of all rounds; at most {rate + ERRORS * error:.3f}; cohort sizes vary"
        f" {spread:.2f} times as independent draws do; at least {least:.2f}",
    )


def _secret_cohorts(first: Deployed, again: Deployed) -> Finding:
    """The draw of a cohort does not follow from the run's seed."""
    pairs = [(a, b) for a, b in zip(first.cohorts, again.cohorts, strict=False) if a or b]
    same = sum(a == b for a, b in pairs)
    text = f"{same} of {len(pairs)} cohorts are those of another run with the same seed"
    return Finding("secret cohorts", not pairs or same < len(pairs), text)


def _rotation(deployed: Deployed, groups: int) -> Finding:
    """A client's rounds are far enough apart."""
    closest = groups
    for took_part in deployed.present.T:
        turns = np.array(deployed.numbers)[took_part]
        if len(turns) > 1:
            closest = min(closest, int(np.diff(turns).min()))
    return Finding(
        "sampling", closest >= groups, f"two rounds of a client are {closest} apart; at least {groups}"
    )


def _ledger(first: Deployed, unwritten: Deployed) -> Finding:
    """Each release is in the ledger on disk before anybody gets it; without a ledger there is none."""
    missing, without = len(first.sums) - first.recorded, len(unwritten.sums)
    system = first.noises == {"system"}
    return Finding(
        "ledger",
        not first.unwritten and missing <= 0 and not without and system,
        f"{first.unwritten} of {len(first.sums)} sums reached the model before their line was on disk,"
        f" {max(0, missing)} have none; {without} left while the ledger could not be written; noise is said"
        f" to be {', '.join(sorted(first.noises)) or 'nowhere'}",
    )


def _account(deployed: Deployed) -> Finding:
    """The ledger's epsilon is not below the cost of the releases, computed by separate code."""
    strategy = deployed.strategy
    assert strategy.budget is not None
    groups, rate, delta = (
        strategy.sampling.groups,
        float(strategy.sampling.rate or 1.0),
        strategy.budget.delta,
    )
    multiplier, releases = strategy.release.noise.multiplier, len(deployed.sums)
    if groups:
        releases, rate = max(np.bincount(np.array(deployed.numbers) % groups)), 1.0
    if rate == 1:
        multiplier = multiplier / sensitivity(strategy.budget.adjacency)
    claimed = deployed.reread
    # With sampling, replacing a client costs more than leaving it out: then this is only a lower bound.
    least = composed_epsilon(multiplier, rate, releases, delta, claimed) if claimed < 100 else 0.0
    return Finding(
        "account",
        claimed >= 0.997 * least - 1e-3,
        f"the ledger says epsilon {claimed:.3f} for what was released; computed without it, {least:.3f}"
        " or more",
    )
