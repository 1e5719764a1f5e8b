"""The weighted mean of a cohort's deltas.

An `Aggregate` receives deltas one at a time, as they arrive. A `linear` one
keeps a running sum: memory is O(d), not O(clients x d), and a summable pipeline
is decoded once, on the sum. The sum is kept in fixed point, so it does not
depend on the order of arrival: integer addition is associative, floating-point
addition is not.
"""

from math import inf, isfinite
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.strategies.aggregates.base import Aggregate, OutOfRange
from hedgerow.types import PayloadError, Vector

SUM_FRACTION_BITS = 36
"""Values are stored as multiples of 2**-36 (1.5e-11)."""

WEIGHT_BITS = 20
"""Weights are stored as multiples of 2**-20."""

LARGEST_SUM = 2.0**26
"""The largest sum that one word holds."""

_RANGE_BITS = 62

# The second word counts 2**54 units, so a double holds the remainder for the first one exactly.
_WORD_BITS = 54

LARGEST_WEIGHTED = 2.0**60
"""Upper bound on a client's `weight * value`; it is smaller for cohorts of more than 2**20."""

# Adding this to a double below 2**51 in absolute value leaves the nearest integer in its low bits (ties to
# even, as rint): doubles from 2**52 to 2**53 are the integers. The bits of the constant itself are counted
# and subtracted once, at the end: int64 wraps around, so nothing is lost on the way.
_WHOLE = 1.5 * 2.0**52
_WHOLE_BITS = int(np.float64(_WHOLE).view(np.int64))

_BIASED = 2.0 ** (51 - SUM_FRACTION_BITS)

# Exceeds the relative error of a norm that is known to three digits.
_ROUGH = 1.01

# Number of values added at a time, so that intermediate results stay in a core's cache.
_BLOCK = 32768


def mean() -> Aggregate:
    """The weighted mean, as in FedAvg (arXiv:1602.05629, algorithm 1).

    Streaming, exact to 2**-37 per client, and independent of the order in which
    clients arrive.
    """
    return Aggregate("mean()", FixedPointMean, linear=True, mean=True)


class FixedPointMean:
    """A weighted mean whose bits do not depend on the order of addition.

    Each `weight * value` is computed in float64, rounded to a multiple of
    2**-36 (ties to even) and added to an int64. If a client's largest exceeds
    `2**26 / clients`, a second int64 holds multiples of 2**18, so that no sum
    of values up to 2**60 overflows; larger ones are refused. Both words together
    form one integer, which is the same for any order of clients and any
    division into partial sums.

    >>> total = FixedPointMean(2, clients=10)
    >>> total.add("a", np.array([1, 2], np.float32), weight=1)
    >>> total.add("b", np.array([4, 5], np.float32), weight=2)
    >>> total.result().tolist()
    [3.0, 4.0]
    """

    def __init__(self, n: int, clients: int) -> None:
        checks.whole(0, n=n)
        checks.whole(1, clients=clients)
        # Up to `_small`, one word is enough for the whole cohort; up to `_most`, two are.
        self._small = LARGEST_SUM / clients
        self._most = min(LARGEST_WEIGHTED, 2.0 ** (_RANGE_BITS + _WORD_BITS - SUM_FRACTION_BITS) / clients)
        self._sum = np.zeros(n, np.int64)
        self._high: NDArray[np.int64] | None = None
        self._weight = 0
        self._clients = clients
        self._biased = 0

    @property
    def weight(self) -> float:
        """Total weight added."""
        return float(self._weight / 2**WEIGHT_BITS)

    @property
    def fixed(self) -> NDArray[np.int64]:
        """The sum, `(n,) int64` in multiples of 2**-36, clipped to 2**26 in absolute value."""
        if self._high is None:
            fixed: NDArray[np.int64] = self._sum - self._bias
            return fixed
        self._carry()
        # One more than the final clip allows: the first word may be negative.
        most = 2 ** (_RANGE_BITS - _WORD_BITS) + 1
        whole = (np.clip(self._high, -most, most) << _WORD_BITS) + (self._sum - self._bias)
        return np.clip(whole, -(2**_RANGE_BITS), 2**_RANGE_BITS)

    @property
    def _bias(self) -> np.int64:
        return np.int64((self._biased * _WHOLE_BITS + 2**63) % 2**64 - 2**63)

    def check(self, values: Vector, weight: float, *, norm: float = inf) -> None:
        """Raise `PayloadError` if `add` would; adds nothing."""
        self._largest(values, _fixed(weight), norm)

    def add(self, client: str, values: Vector, weight: float, *, norm: float = inf) -> None:
        """Add `values` `(n,) float32` with a weight of zero or more.

        Args:
            client: its name.
            values: its vector.
            weight: their weight.
            norm: their l2 norm to three digits, if known: with a small norm, no value is too large.

        Raises:
            PayloadError: a value is not finite, or `weight * value` exceeds
                2**60. Nothing is added then.
        """
        fixed_weight = _fixed(weight)
        largest = self._largest(values, fixed_weight, norm)
        # Scaling by a power of two is exact: this gives the product in multiples of 2**-36.
        factor = np.float64(fixed_weight * 2.0 ** (SUM_FRACTION_BITS - WEIGHT_BITS))
        if largest > self._small:
            self._add_large(values, factor)
        else:
            self._add_small(values, factor, biased=largest < _BIASED)
        self._weight += fixed_weight

    def _add_small(self, values: Vector, factor: np.float64, *, biased: bool) -> None:
        scaled = np.empty(min(_BLOCK, len(values)), np.float64)
        whole = scaled.view(np.int64)
        for first in range(0, len(values), _BLOCK):
            total = self._sum[first : first + _BLOCK]
            part, bits = scaled[: len(total)], whole[: len(total)]
            part[:] = values[first : first + _BLOCK]
            part *= factor
            if biased:
                part += _WHOLE
            else:
                np.copyto(bits, np.rint(part), casting="unsafe")
            total += bits
        self._biased += biased

    def _add_large(self, values: Vector, factor: np.float64) -> None:
        if self._high is None:
            self._high = np.zeros(len(self._sum), np.int64)
        for first in range(0, len(values), _BLOCK):
            block = slice(first, first + _BLOCK)
            whole = np.rint(values[block].astype(np.float64) * factor)
            high = np.rint(whole * 2.0**-_WORD_BITS)
            self._high[block] += high.astype(np.int64)
            self._sum[block] += (whole - high * 2.0**_WORD_BITS).astype(np.int64)
        self._carry()

    def _carry(self) -> None:
        """Carry into the second word, so that the first holds at most half a unit of the second."""
        if self._high is None:
            return
        for first in range(0, len(self._sum), _BLOCK):
            block = slice(first, first + _BLOCK)
            over = (self._sum[block] - self._bias + 2 ** (_WORD_BITS - 1)) >> _WORD_BITS
            self._high[block] += over
            self._sum[block] -= over << _WORD_BITS

    def merge(self, other: Self) -> None:
        """Add the partial sum of another mean of the same cohort."""
        if (other._sum.shape, other._clients) != (self._sum.shape, self._clients):
            raise ValueError("the two means must be of the same cohort and model to be merged")
        self._sum += other._sum
        self._weight += other._weight
        self._biased += other._biased
        if other._high is not None:
            self._high = other._high.copy() if self._high is None else self._high + other._high
        self._carry()

    def _largest(self, values: Vector, fixed_weight: int, norm: float) -> float:
        """An upper bound on all `|weight * value|`; raises `PayloadError` if one is out of range.

        If the norm is small enough, it is the bound, and the values are not examined: a norm is finite only
        if all values are.
        """
        if values.shape != self._sum.shape:
            raise PayloadError(f"it has values of shape {values.shape}; {self._sum.shape} is allowed")
        if not values.size:
            return 0.0
        whole: float = _ROUGH * norm * (fixed_weight / 2**WEIGHT_BITS)
        if whole < min(self._small, _BIASED):
            return whole
        # Rounding is monotonic, so the largest value gives the largest product. Both reductions keep NaN.
        ends = float(np.maximum.reduce(values)), -float(np.minimum.reduce(values))
        largest: float = max(ends) * (fixed_weight / 2**WEIGHT_BITS)
        if not isfinite(largest):
            wrong = values.size - int(np.isfinite(values).sum())
            raise PayloadError(f"{wrong} of {values.size} values are not finite")
        if largest > self._most:
            position = int(np.argmax(values) if ends[0] >= ends[1] else np.argmin(values))
            raise OutOfRange(
                f"its largest weighted value is {largest:.3g}, {values[position]:.3g} with a weight of"
                f" {fixed_weight / 2**WEIGHT_BITS:g}; at most {self._most:.3g} is allowed: scale inputs and"
                " targets to about 1, or lower the largest weight (weight_by_examples(max_weight=...))",
                position,
            )
        return largest

    def result(self) -> Vector:
        """The mean `(n,) float32`; raises `ValueError` if the total weight is zero."""
        if not self._sum.size:
            return np.empty(0, np.float32)
        if self._weight == 0:
            raise ValueError("the total weight is 0, so the mean is not defined")
        self._carry()
        bias, unit = self._bias, 2.0 ** (WEIGHT_BITS - SUM_FRACTION_BITS) / self._weight
        found: Vector = np.empty(len(self._sum), np.float32)
        for first in range(0, len(found), _BLOCK):
            block = slice(first, first + _BLOCK)
            whole = self._sum[block] - bias
            if self._high is not None:
                whole = whole + self._high[block] * 2.0**_WORD_BITS
            found[block] = whole * unit
        return found


def _fixed(weight: float) -> int:
    """A weight in multiples of 2**-20."""
    fixed: int = round(weight * 2**WEIGHT_BITS)
    return fixed
