"""Exact samples of Skellam noise, many at a time.

A Skellam variate is the difference of two Poisson variates of one mean, half
its variance. The sum of independent ones is Skellam again, and their variances
add up: noise that many clients make together has exactly the distribution that
is counted, however small each part is (Agarwal, Kairouz and Liu 2021,
arXiv:2110.04995).
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
"""A table holds each number that is ever drawn: 18 standard deviations on either side."""

_BITS = 63
_CUT = 240 * math.log(2)
_GUARD = 2**256


def skellam(variance: int, n: int, source: RandomSource) -> NDArray[np.int64]:
    """Draw `n` whole numbers `x` with probability `exp(-v) I_x(v)`, `v` being the variance.

    A uniform number is looked up in a table of what `|x|` is at most, and a
    bit is the sign. No step is in floating point: the table's entries are
    fractions of whole numbers, and 63 bits that are the first of an entry's
    are followed by as many as it takes to tell on which side of it they lie.

    The table is closer to Skellam's distribution than 2**-200 in total
    variation, which nobody can tell in any number of draws. Modified Bessel
    functions obey `I_(k-1) = I_(k+1) + (2 k / v) I_k` (DLMF 10.29.1), and so
    do `(-1)^k K_k`. The table begins with `g_(N+1) = 0`, some `g_N`, and goes
    down (Miller's algorithm): it is `c I_k + b (-1)^k K_k` with
    `|b| K_(N+1) = c I_(N+1)`. As `K_k` grows with `k`, `|g_k - c I_k|` is at
    most `c I_(N+1)` for all `k` up to `N`: each probability is off by no more
    than that of `N + 1`. `N` is chosen so that the tail from `N + 1` on has at
    most 2**-240 (`tail`), and twice `2 N + 3` times that is below 2**-220. The
    whole numbers `g_k` have 248 bits or more, since `g_(k-1) >= g_(k+1)` and
    `2 N / v > 2**-8`, and are rounded once a step; all terms are positive, so
    that the relative error is below `N` 2**-248, which is less than 2**-230.

    Args:
        variance: whole, 1 to 2**26.
        n: how many.
        source: where randomness comes from; one word a value is taken.

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
    # A number that is the first 63 bits of an entry may lie on either side of it.
    for i in np.flatnonzero(uniform == table.first_bits[np.maximum(size, 1) - 1]):
        size[i] = _decide(int(uniform[i]), table, source)
    negative = (drawn & np.uint64(1)).astype(bool)
    return np.where(negative, -size, size).astype(np.int64)


def tail(variance: int, nats: float) -> int:
    """A size that Skellam noise reaches on one side with probability `exp(-nats)` at most.

    Chernoff's bound, with `E exp(s x) = exp(v (cosh s - 1))`. It is little
    more than `sqrt(2 nats v)`, as a Gaussian's, unless the variance is small.

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
    return high + 1  # more than the last digits of a double are worth


@dataclass(frozen=True)
class _Table:
    """How likely `|x|` is at most `k`: `entries[k] / whole`, and its first 63 bits."""

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
    # Beyond the first that is all ones, all are.
    told_apart = int(np.searchsorted(first_bits, np.uint64(2**_BITS - 1)))
    return _Table(entries, whole, first_bits[: told_apart + 1])


def _decide(value: int, table: _Table, source: RandomSource) -> int:
    """The size for a uniform number with these first 63 bits, with as many further bits as it takes."""
    bits = _BITS
    while True:
        low, high = value * table.whole, (value + 1) * table.whole
        first = bisect_right(table.entries, low, key=lambda entry: entry << bits)
        if first == len(table.entries) or high <= table.entries[first] << bits:
            return first
        value, bits = value << 64 | int(source(1)[0]), bits + 64
