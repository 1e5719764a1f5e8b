"""How the deltas of a cohort become one.

An `Aggregate` takes deltas one at a time, as they arrive. What is `linear`
keeps one running sum: memory is O(d), not O(clients x d), and a summable
pipeline is decoded once, on the sum. The sum is kept in fixed point, so that
it does not depend on the order of arrival: integer addition is associative,
floating-point addition is not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hedgerow import checks
from hedgerow.types import PayloadError, Vector

FRACTION_BITS = 36
"""Values are held as multiples of 2**-36 (1.5e-11)."""

WEIGHT_BITS = 20
"""Weights are held as multiples of 2**-20."""

_RANGE_BITS = 62


class Accumulator(Protocol):
    """Takes the deltas of one round, then gives their aggregate."""

    def add(self, values: Vector, weight: float) -> None:
        """Count one client's values in. Raises `PayloadError` and stays as it was if they cannot be."""

    def result(self) -> Vector:
        """The aggregate `(n,) float32` of what was added."""


@dataclass(frozen=True)
class Aggregate:
    """A rule that combines deltas.

    Attributes:
        name: as written in a configuration.
        start: `(number of values, largest number of clients) -> Accumulator`.
        linear: the result is a weighted sum of what was added, so that it may
            be computed on encoded values of a summable pipeline.
    """

    name: str
    start: Callable[[int, int], Accumulator]
    linear: bool


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
    >>> total.add(np.array([1, 2], np.float32), weight=1)
    >>> total.add(np.array([4, 5], np.float32), weight=2)
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
        self._scaled: np.ndarray[Any, np.dtype[np.float64]] = np.empty(n, np.float64)
        self._rounded = np.empty(n, np.int64)

    @property
    def weight(self) -> float:
        """Total weight added."""
        return float(self._weight / 2**WEIGHT_BITS)

    def check(self, values: Vector, weight: float) -> None:
        """Raise `PayloadError` where `add` would; add nothing."""
        self._scale(values, weight)

    def add(self, values: Vector, weight: float) -> None:
        """Count `values` `(n,) float32` in with a weight of zero or more.

        Raises:
            PayloadError: a value is not finite, or `weight * value` is larger
                than the range holds. Nothing is added then.
        """
        fixed_weight = self._scale(values, weight)
        self._scaled *= 2.0**FRACTION_BITS
        np.rint(self._scaled, out=self._scaled)
        np.copyto(self._rounded, self._scaled, casting="unsafe")
        self._sum += self._rounded
        self._weight += fixed_weight

    def _scale(self, values: Vector, weight: float) -> int:
        if values.shape != self._sum.shape:
            raise PayloadError(f"it has values of shape {values.shape}; {self._sum.shape} is allowed")
        fixed_weight: int = round(weight * 2**WEIGHT_BITS)
        np.multiply(values, fixed_weight / 2**WEIGHT_BITS, out=self._scaled, dtype=np.float64)
        if self._scaled.size:
            largest = max(float(self._scaled.max()), -float(self._scaled.min()))
            if not np.isfinite(largest):
                raise PayloadError("a value is not finite; only finite numbers are allowed")
            if largest > self._limit:
                raise PayloadError(
                    f"its largest weighted value is {largest:.3g};"
                    f" at most {self._limit:.3g} is allowed in a cohort of {self._clients}"
                )
        return fixed_weight

    def result(self) -> Vector:
        """The mean `(n,) float32`; raises `ValueError` where the total weight is zero."""
        if self._weight == 0:
            raise ValueError("the total weight is 0: there is no mean of nothing")
        return (self._sum * (2.0 ** (WEIGHT_BITS - FRACTION_BITS) / self._weight)).astype(np.float32)
