"""Exact samples of Skellam noise, many at a time.

A Skellam variate is the difference of two Poisson variates whose mean is half
its variance. The sum of independent ones is Skellam again, and their variances
add up: noise that many clients generate together has exactly the distribution
that the accounting assumes, however small each share is (Agarwal, Kairouz and
Liu 2021, arXiv:2110.04995).
"""

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.rng import RandomSource

LARGEST_VARIANCE = 2**26
"""The table holds every number that can be drawn: 18 standard deviations on either side."""

_BITS = 63
_CUT = 240 * math.log(2)
_GUARD = 2**256


def skellam(variance: int, n: int, source: RandomSource) -> NDArray[np.int64]:
    """Draw `n` whole numbers `x` with probability `exp(-v) I_x(v)`, `v` being the variance.

    A uniform number is looked up in a table of the cumulative distribution of
    `|x|`, and one more bit gives the sign. Nothing is computed in floating
    point: the table's entries are fractions of whole numbers, and 63 bits that
    equal the first bits of an entry are followed by as many further bits as it
    takes to decide on which side of it they lie.

    The table is within 2**-200 of Skellam's distribution in total variation,
    which is undetectable in any number of draws. Modified Bessel functions
    satisfy `I_(k-1) = I_(k+1) + (2 k / v) I_k` (DLMF 10.29.1), and so do
    `(-1)^k K_k`. The table starts with `g_(N+1) = 0` and an arbitrary `g_N`, and
    goes down (Miller's algorithm): it is `c I_k + b (-1)^k K_k` with
    `|b| K_(N+1) = c I_(N+1)`. As `K_k` grows with `k`, `|g_k - c I_k|` is at
    most `c I_(N+1)` for all `k` up to `N`: each probability is off by no more
    than that of `N + 1`. `N` is chosen so that the tail from `N + 1` on has at
    most 2**-240 (`tail`), and twice `2 N + 3` times that is below 2**-220. The
    whole numbers `g_k` have 248 bits or more, since `g_(k-1) >= g_(k+1)` and
    `2 N / v > 2**-8`, and are rounded once per step; all terms are positive, so
    the relative error is below `N` 2**-248, which is less than 2**-230.

    Args:
        variance: whole number, 1 to 2**26.
        n: number of values.
        source: source of randomness; one word is taken per value.

    Returns:
        `(n,) int64`.

    Raises:
        ValueError: `variance` or `n` is not a whole number in range.

    >>> from hedgerow.rng import seeded_source
    >>> skellam(9, 8, seeded_source(0, "example")).tolist()
    [1, -1, -1, 2, -2, 4, 2, -2]
    """
    checks.whole(1, LARGEST_VARIANCE, variance=variance)
    checks.whole(0, n=n)
    table = _table(variance)
    drawn = source(n)
    uniform = drawn >> np.uint64(1)
    size = np.searchsorted(table.first_bits, uniform, side="right")
    # A number equal to the first 63 bits of an entry may lie on either side of it.
    for i in np.flatnonzero(uniform == table.first_bits[np.maximum(size, 1) - 1]):
        size[i] = _decide(int(uniform[i]), table, source)
    negative = (drawn & np.uint64(1)).astype(bool)
    return np.where(negative, -size, size).astype(np.int64)


def tail(variance: int, nats: float) -> int:
    """A value that Skellam noise reaches on one side with probability `exp(-nats)` at most.

    Chernoff's bound, with `E exp(s x) = exp(v (cosh s - 1))`. It is slightly
    above `sqrt(2 nats v)`, the bound of a Gaussian, unless the variance is small.

    >>> tail(1_000_000, 72.0), tail(16, 72.0)
    (12002, 60)
    """

    def bound(t: int) -> float:
        return t * math.asinh(t / variance) - t**2 / (math.hypot(t, variance) + variance)

    low, high = 0, 1
    while bound(high) < nats:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if bound(middle) >= nats else (middle, high)
    return high + 1  # allows for rounding errors of the doubles


@dataclass(frozen=True)
class _Table:
    """The probability that `|x|` is at most `k`: `entries[k] / whole`, and its first 63 bits."""

    entries: list[int]
    whole: int
    first_bits: NDArray[np.uint64]


@lru_cache(maxsize=4)
def _table(variance: int) -> _Table:
    top = tail(variance, _CUT)
    above, here = 0, _GUARD
    sizes = []
    for k in range(top, 0, -1):
        sizes.append(2 * here)
        above, here = here, above + 2 * k * here // variance
    entries = list(accumulate(reversed([*sizes, here])))
    whole = entries.pop()
    first_bits = np.array([(entry << _BITS) // whole for entry in entries], np.uint64)
    # Beyond the first entry that is all ones, all entries are.
    told_apart = int(np.searchsorted(first_bits, np.uint64(2**_BITS - 1)))
    return _Table(entries, whole, first_bits[: told_apart + 1])


def _decide(value: int, table: _Table, source: RandomSource) -> int:
    """The size for a uniform number with these first 63 bits; draws further bits as necessary."""
    bits = _BITS
    while True:
        low, high = value * table.whole, (value + 1) * table.whole
        first = bisect_right(table.entries, low, key=lambda entry: entry << bits)
        if first == len(table.entries) or high <= table.entries[first] << bits:
            return first
        value, bits = value << 64 | int(source(1)[0]), bits + 64
