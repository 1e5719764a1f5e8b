"""How the deltas of a cohort become one.

An `Aggregate` takes deltas one at a time, as they arrive. What is `linear`
keeps one running sum: memory is O(d), not O(clients x d), and a summable
pipeline is decoded once, on the sum. The sum is kept in fixed point, so that
it does not depend on the order of arrival: integer addition is associative,
floating-point addition is not.
"""

from math import isfinite
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.strategies.aggregates.base import Aggregate
from hedgerow.types import PayloadError, Vector

FRACTION_BITS = 36
"""Values are held as multiples of 2**-36 (1.5e-11)."""

WEIGHT_BITS = 20
"""Weights are held as multiples of 2**-20."""

_RANGE_BITS = 62

# Adding this to a double below 2**51 in size leaves, in its low bits, the whole number nearest to it (ties to
# even, as rint): doubles from 2**52 to 2**53 are the whole numbers. Its own bits are counted and taken off
# once, at the end: int64 wraps round, so that nothing is lost on the way.
_WHOLE = 1.5 * 2.0**52
_WHOLE_BITS = int(np.float64(_WHOLE).view(np.int64))

# Values added at a time: what is computed between two of them stays in a core's cache.
_BLOCK = 32768


def mean() -> Aggregate:
    """The weighted mean, as in FedAvg (arXiv:1602.05629, algorithm 1).

    Streaming, exact to 2**-37 a client, and independent of the order in which
    clients arrive.
    """
    return Aggregate("mean()", FixedPointMean, linear=True)


class FixedPointMean:
    """A weighted mean whose bits do not depend on the order of addition.

    Each `weight * value` is rounded to a multiple of 2**-36 and added to an
    int64. A contribution may be at most `2**26 / clients` in size, so that the
    sum of all of them cannot overflow; a larger one is refused.

    >>> total = FixedPointMean(2, clients=10)
    >>> total.add("a", np.array([1, 2], np.float32), weight=1)
    >>> total.add("b", np.array([4, 5], np.float32), weight=2)
    >>> total.result().tolist()
    [3.0, 4.0]
    """

    def __init__(self, n: int, clients: int) -> None:
        checks.whole(0, n=n)
        checks.whole(1, clients=clients)
        self._limit = 2.0 ** (_RANGE_BITS - FRACTION_BITS) / clients
        self._sum = np.zeros(n, np.int64)
        self._weight = 0
        self._clients = clients
        self._biased = 0

    @property
    def weight(self) -> float:
        """Total weight added."""
        return float(self._weight / 2**WEIGHT_BITS)

    @property
    def fixed(self) -> NDArray[np.int64]:
        """What was added, `(n,) int64` in multiples of 2**-36."""
        fixed: NDArray[np.int64] = self._sum - self._bias
        return fixed

    @property
    def _bias(self) -> np.int64:
        return np.int64((self._biased * _WHOLE_BITS + 2**63) % 2**64 - 2**63)

    def check(self, values: Vector, weight: float) -> None:
        """Raise `PayloadError` where `add` would; add nothing."""
        self._largest(values, _fixed(weight))

    def add(self, client: str, values: Vector, weight: float) -> None:
        """Count `values` `(n,) float32` in with a weight of zero or more.

        Raises:
            PayloadError: a value is not finite, or `weight * value` is larger
                than the range holds. Nothing is added then.
        """
        fixed_weight = _fixed(weight)
        largest = self._largest(values, fixed_weight) * 2.0**FRACTION_BITS
        # A power of two changes no digit: this is the rounded product, in multiples of 2**-36.
        factor = np.float64(fixed_weight * 2.0 ** (FRACTION_BITS - WEIGHT_BITS))
        biased = largest < 2.0**51
        scaled = np.empty(min(_BLOCK, len(values)), np.float64)
        whole = scaled.view(np.int64)
        for first in range(0, len(values), _BLOCK):
            total = self._sum[first : first + _BLOCK]
            part, bits = scaled[: len(total)], whole[: len(total)]
            np.copyto(part, values[first : first + _BLOCK])
            np.multiply(part, factor, out=part)
            if biased:
                np.add(part, _WHOLE, out=part)
            else:
                np.copyto(bits, np.rint(part), casting="unsafe")
            np.add(total, bits, out=total)
        self._weight += fixed_weight
        self._biased += biased

    def merge(self, other: Self) -> None:
        """Count in what was added to another mean of the same cohort."""
        if (other._sum.shape, other._clients) != (self._sum.shape, self._clients):
            raise ValueError("the two means are not of one cohort and model; only such can be merged")
        self._sum += other._sum
        self._weight += other._weight
        self._biased += other._biased

    def _largest(self, values: Vector, fixed_weight: int) -> float:
        """The largest size of `weight * value`; raises `PayloadError` where it is out of range."""
        if values.shape != self._sum.shape:
            raise PayloadError(f"it has values of shape {values.shape}; {self._sum.shape} is allowed")
        if not values.size:
            return 0.0
        # Rounding keeps order, so that the largest value gives the largest product. NaN is kept by both.
        ends = float(np.maximum.reduce(values)), -float(np.minimum.reduce(values))
        largest: float = max(ends) * (fixed_weight / 2**WEIGHT_BITS)
        if not isfinite(largest):
            wrong = values.size - int(np.isfinite(values).sum())
            raise PayloadError(f"{wrong} of {values.size} values are not finite")
        if largest > self._limit:
            raise PayloadError(
                f"its largest weighted value is {largest:.3g};"
                f" at most {self._limit:.3g} is allowed in a cohort of {self._clients}"
            )
        return largest

    def result(self) -> Vector:
        """The mean `(n,) float32`; raises `ValueError` where the total weight is zero."""
        if not self._sum.size:
            return np.empty(0, np.float32)
        if self._weight == 0:
            raise ValueError("the total weight is 0: there is no mean of nothing")
        bias, unit = self._bias, 2.0 ** (WEIGHT_BITS - FRACTION_BITS) / self._weight
        found: Vector = np.empty(len(self._sum), np.float32)
        for first in range(0, len(found), _BLOCK):
            found[first : first + _BLOCK] = (self._sum[first : first + _BLOCK] - bias) * unit
        return found


def _fixed(weight: float) -> int:
    """A weight in multiples of 2**-20."""
    fixed: int = round(weight * 2**WEIGHT_BITS)
    return fixed
