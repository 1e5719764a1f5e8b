"""The l2 norm of a vector, and a vector of at most some norm."""

import numpy as np
from numpy.typing import NDArray

from hedgerow.types import Vector


def l2_norm(values: NDArray[np.float32]) -> float:
    """The l2 norm, summed in float64 without BLAS, whose order of adding depends on its threads.

    >>> l2_norm(np.array([3, 4], np.float32))
    5.0
    """
    return float(np.sqrt(np.square(values, dtype=np.float64).sum()))


def clipped(values: Vector, bound: float) -> Vector:
    """The values, scaled down to an l2 norm of at most `bound` where they exceed it."""
    length = l2_norm(values)
    if length <= bound:
        return values
    scaled = np.multiply(values, bound / length, dtype=np.float64).astype(np.float32)
    # Rounding to float32 may have gone up; each step below is one unit in the last place.
    while l2_norm(scaled) > bound:
        scaled = np.nextafter(scaled, np.float32(0))
    return scaled
