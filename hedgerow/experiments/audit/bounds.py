"""Bounds on epsilon from guesses and scores, and a run's smallest epsilon, apart from the ledger's code."""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def chance(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """The largest probability of at least `right` correct guesses about an (epsilon, delta) private run.

    Each canary was included by its own fair coin, and some were guessed about
    (Steinke, Nasr and Jagielski 2023, arXiv:2305.08846, theorem 5.2).

    >>> round(chance(100, 100, 100, 0.0, 0.0) * 2**100, 6), round(chance(100, 50, 25, 1.0, 1e-5), 3)
    (1.0, 1.0)
    """
    q = -np.logaddexp(0.0, -epsilon)  # log of 1 / (1 + exp(-epsilon))
    k = np.arange(guesses + 1)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, guesses + 1)))])
    binomial = factorials[-1] - factorials - factorials[::-1]
    exactly = np.exp(binomial + k * q + (guesses - k) * (q - epsilon))
    fewer = np.cumsum(exactly[:right][::-1])  # of 1, 2, ... fewer correct guesses than were seen
    most = float((fewer / np.arange(1, right + 1)).max(initial=0.0))
    return float(min(1.0, exactly[right:].sum() + 2 * canaries * delta * most))


def least_epsilon(canaries: int, guesses: int, right: int, delta: float, confidence: float) -> float:
    """The largest epsilon that `right` correct guesses refute, with this confidence; 0 if they refute none.

    >>> round(least_epsilon(1000, 100, 100, 1e-5, 0.95), 2), least_epsilon(100, 50, 25, 1e-5, 0.95)
    (3.47, 0.0)
    """
    low, high = 0.0, 50.0
    if chance(canaries, guesses, right, low, delta) > 1 - confidence:
        return 0.0
    for _ in range(40):
        middle = (low + high) / 2
        refuted = chance(canaries, guesses, right, middle, delta) <= 1 - confidence
        low, high = (middle, high) if refuted else (low, middle)
    return low


def guessed(scores: Floats, included: NDArray[np.bool_]) -> tuple[int, int]:
    """The number of guesses, and of correct ones: the highest sixth of scores is guessed in, the lowest out.

    The number of guesses is fixed in advance, as the theorem requires.
    """
    sixth = max(1, len(scores) // 6)
    order = np.argsort(scores, kind="stable")
    right = int((~included[order[:sixth]]).sum() + included[order[-sixth:]].sum())
    return 2 * sixth, right


def gaussian_epsilon(silent: Floats, sent: Floats, delta: float, errors: float = 2.0) -> float:
    """The smallest epsilon for which normal fits of two sets of scores are (epsilon, delta) alike.

    arXiv:2302.03098, algorithm 2, in both directions. Few canaries give poor
    estimates of means and spreads, so all are moved by `errors` standard errors to
    the safe side, towards equal sets; with two, the scores of a hundred canaries
    support at least this epsilon in 19 of 20 audits, those of twenty in 17.

    >>> random = np.random.default_rng(0)
    >>> round(gaussian_epsilon(random.normal(0, 1, 10**6), random.normal(1, 1, 10**6), 1e-5), 1)
    4.4
    """
    spread = max(float(silent.std()), 1e-12)
    wide = max(float(sent.std()), 1e-12) / spread
    apart = (float(sent.mean()) - float(silent.mean())) / spread
    # Errors of the logarithm of one spread, and of two: with few canaries, logarithms are closest to normal.
    of_one, of_other = (1 / math.sqrt(2 * max(1, len(scores) - 1)) for scores in (silent, sent))
    apart -= errors * math.sqrt(1 / len(silent) + wide**2 / len(sent))
    ratio = math.log(wide)
    ratio = math.copysign(max(0.0, abs(ratio) - errors * math.hypot(of_one, of_other)), ratio)
    low = (0.0, 1.0)
    high = (max(0.0, apart) * math.exp(-errors * of_one), math.exp(ratio))

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
    """The delta of two normal densities: the sum of where one exceeds `exp(epsilon)` times the other."""
    reach = 12 * max(p[1], q[1])
    x = np.linspace(min(p[0], q[0]) - reach, max(p[0], q[0]) + reach, 20001)
    log_p, log_q = (-0.5 * ((x - m) / s) ** 2 - math.log(s * math.sqrt(2 * math.pi)) for m, s in (p, q))
    excess = np.exp(log_p) - np.exp(np.minimum(log_q + epsilon, 700.0))
    return float(np.maximum(excess, 0).sum() * (x[1] - x[0]))


def composed_epsilon(multiplier: float, rate: float, releases: int, delta: float, about: float) -> float:
    """The epsilon of `releases` releases with Gaussian noise and sampling, for leaving out one participant.

    The distribution of the privacy loss is discretised and convolved with itself by
    FFT (Koskela et al. 2020, arXiv:1906.03049), in code separate from the ledger's.

    Args:
        multiplier: standard deviation of the noise over the sensitivity.
        rate: of Poisson sampling; 1 for everybody.
        releases: their number.
        delta: of the epsilon.
        about: a rough estimate of the result, which sets the range of losses.

    >>> round(composed_epsilon(1.1, 0.02, 100, 1e-4, about=1.0), 3)
    0.882
    """
    size = 2**17
    step = 16 * max(4.0, about) / size
    x = np.linspace(-12 * multiplier - 1, 12 * multiplier + 2, 100_001)
    log_without, log_with = (-0.5 * ((x - mean) / multiplier) ** 2 for mean in (0.0, 1.0))
    log_mixed = np.logaddexp(log_with + math.log(rate), log_without + math.log1p(-min(rate, 1 - 1e-15)))
    found = []
    for log_p, log_q in ((log_mixed, log_without), (log_without, log_mixed)):
        density = np.exp(log_p)
        places = np.rint((log_p - log_q) / step).astype(np.int64) + size // 2
        within = (places >= 0) & (places < size)
        one = np.bincount(places[within], density[within] / density.sum(), size)
        transform = np.fft.rfft(np.roll(one, -(size // 2)))
        total = np.roll(np.maximum(np.fft.irfft(transform**releases, size), 0.0), size // 2)
        losses = step * (np.arange(size) - size // 2)
        low, high = 0.0, float(losses[-1])
        for _ in range(40):
            middle = (low + high) / 2
            beyond = losses > middle
            excess = float((total[beyond] * -np.expm1(middle - losses[beyond])).sum())
            low, high = (middle, high) if excess > delta else (low, middle)
        found.append(high)
    return max(found)
