"""The l2 norm of a vector, and clipping to a norm, with the same bits in every language.

A floating-point sum depends on the order of addition, which numpy and BLAS choose by vector length,
processor and threads. Here it is fixed: the vector is cut into blocks of 4096 values, of which the last
may be shorter; the squares are added up position by position, one block after the other; and then the
positions, from the first to the last. All of this is in float64, where the square of a float32 is exact.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hedgerow.types import Vector

BLOCK = 4096
"""Number of running sums, one for each position of a block."""

_QUICK_BLOCK = 8192
_LEAST_SUM = 1e-30
"""Smallest sum of squares that float32 holds to six digits: its smallest normal number is about 1e-38."""


def square_sum(values: NDArray[Any]) -> float:
    """The sum of the squares of `(n,)` numbers, in the order above.

    >>> square_sum(np.array([3, 4], np.float32))
    25.0
    """
    if len(values) <= BLOCK:
        squares = values.astype(np.float64)
        return float(np.cumsum(np.multiply(squares, squares, out=squares))[-1]) if len(values) else 0.0
    places = np.zeros(BLOCK)
    for start in range(0, len(values), BLOCK):
        squares = values[start : start + BLOCK].astype(np.float64)
        squares *= squares
        places[: len(squares)] += squares
    # A cumulative sum adds from left to right; numpy's `sum` does not.
    return float(np.cumsum(places)[-1])


def l2_norm(values: NDArray[np.float32]) -> float:
    """The l2 norm of `(n,)` numbers, in float64.

    >>> l2_norm(np.array([3, 4], np.float32))
    5.0
    """
    return float(np.sqrt(square_sum(values)))


def quick_norm(values: Vector) -> float:
    """The l2 norm of `(n,)` numbers, to about six digits: for comparing lengths, not for privacy.

    For float32, it takes a thirtieth of `l2_norm`'s time, and gives the same bits on one machine whatever
    its threads do: a block is shorter than what BLAS splits between threads. If a sum of squares overflows
    float32 or nearly vanishes, or for other dtypes, whose squares could wrap, this is `l2_norm`.

    >>> quick_norm(np.array([3, 4], np.float32))
    5.0
    """
    if values.dtype != np.float32:
        return l2_norm(values)
    whole = len(values) - len(values) % _QUICK_BLOCK
    blocks, rest = values[:whole].reshape(-1, 1, _QUICK_BLOCK), values[whole:]
    with np.errstate(all="ignore"):
        squares = np.matmul(blocks, blocks.reshape(-1, _QUICK_BLOCK, 1)).ravel()  # one dot product per block
        total = sum(squares.tolist(), float(np.dot(rest, rest)))
    return math.sqrt(total) if _LEAST_SUM < total < math.inf else l2_norm(values)


def clipped(values: Vector, bound: float) -> Vector:
    """The values, scaled down to an l2 norm of at most `bound` if they exceed it."""
    length = l2_norm(values)
    if length <= bound:
        return values
    scaled = np.multiply(values, bound / length, dtype=np.float64).astype(np.float32)
    # Rounding to float32 may have gone up; each step goes down by one unit in the last place.
    while l2_norm(scaled) > bound:
        scaled = np.nextafter(scaled, np.float32(0))
    return scaled
