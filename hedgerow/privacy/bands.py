"""Correlated noise that partly cancels from round to round: its matrix factorisation.

A model after `t` rounds is a sum of `t` noisy deltas, so independent noise
accumulates. With a lower-triangular Toeplitz matrix `C` of `b` bands, round `t`
gets the noise `(C^-1 z)_t` instead, which subtracts part of the noise of earlier
rounds. A client whose rounds are at least `b` apart changes `C x` by
`sqrt(k) |c|` in `k` rounds (Choquette-Choo et al. 2023, arXiv:2306.08153,
theorem 2 and section 3); the privacy equals that of `k` rounds with independent
noise.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks

_DIGITS = 4  # so that machines agree although their last bits differ


def prefix_error(bands: NDArray[np.float64], rounds: int) -> float:
    """Mean variance of the noise in the model over `rounds` rounds, for one participation and noise of 1.

    `|A C^-1|_F^2 |c|^2 / rounds`, with `A` the matrix of sums up to each round.

    >>> prefix_error(np.array([1.0]), 9)  # independent noise: 1, 2, ..., 9
    5.0
    """
    row = _sums_of_inverse(bands, rounds)
    return float((row**2 * np.arange(rounds, 0, -1)).sum() * (bands**2).sum() / rounds)


@lru_cache(maxsize=32)
def optimal_bands(number: int, rounds: int) -> tuple[float, ...]:
    """The first column, starting with 1, of the banded `C` with the least `prefix_error`.

    Starts from the square root of `A`, whose column is `binom(2 j, j) / 4^j`,
    truncated to `number` bands, and improves it by BFGS. To 4 decimal places.

    Args:
        number: bands, `b`; two rounds of a client are at least `b` rounds apart.
        rounds: number of rounds to optimise for; it also works for fewer or more.

    Raises:
        ValueError: an argument is not a whole number of at least 1.

    >>> optimal_bands(1, 100), optimal_bands(3, 100)
    ((1.0,), (1.0, 0.7395, 0.622))
    """
    checks.whole(1, number=number, rounds=rounds)
    halves = [(2 * j - 1) / (2 * j) for j in range(1, min(number, rounds))]
    column: NDArray[np.float64] = np.array([1.0, *halves]).cumprod()
    free, size = column[1:], len(column) - 1
    value, slope = _loss(free, rounds)
    curvature = np.eye(size) / (1 + np.abs(slope).max(initial=0))
    for _ in range(200):
        if np.abs(slope).max(initial=0) < 1e-6:
            break
        step, length = -curvature @ slope, 1.0
        while (trial := _loss(free + length * step, rounds))[0] > value + 1e-4 * length * (slope @ step):
            length /= 2
            if length < 1e-9:
                return _rounded(free)
        moved, change = length * step, trial[1] - slope
        free, (value, slope) = free + moved, trial
        if (along := float(moved @ change)) > 1e-15:
            left = np.eye(size) - np.outer(moved, change) / along
            curvature = left @ curvature @ left.T + np.outer(moved, moved) / along
    return _rounded(free)


def _rounded(free: NDArray[np.float64]) -> tuple[float, ...]:
    return (1.0, *(round(float(x), _DIGITS) for x in free))


def _loss(free: NDArray[np.float64], rounds: int) -> tuple[float, NDArray[np.float64]]:
    """Logarithm of `prefix_error`, and its gradient."""
    column = np.concatenate([[1.0], free])
    inverse, row = _inverse(column, rounds), _sums_of_inverse(column, rounds)
    weight = np.arange(rounds, 0, -1)
    error, size = float((row**2 * weight).sum()), float((column**2).sum())
    # d(1 / c(x)) / dc_j = -x^j / c(x)^2: the change of every sum is a shifted copy of one sequence.
    change = -np.convolve(row, inverse)[:rounds]
    slope = np.array([2 * (row[j:] * weight[j:] * change[: rounds - j]).sum() for j in range(1, len(column))])
    return float(np.log(error * size)), slope / error + 2 * free / size


def _inverse(bands: NDArray[np.float64], rounds: int) -> NDArray[np.float64]:
    """First column of `C^-1`."""
    found = np.zeros(rounds)
    found[0] = 1 / bands[0]
    for t in range(1, rounds):
        back = min(t, len(bands) - 1)
        found[t] = -(bands[1 : back + 1] * found[t - back : t][::-1]).sum() / bands[0]
    return found


def _sums_of_inverse(bands: NDArray[np.float64], rounds: int) -> NDArray[np.float64]:
    return np.cumsum(_inverse(bands, rounds))
