"""Which values of a vector are sent, and where they belong."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hedgerow.types import PayloadError


def count(fraction: float, n: int) -> int:
    """How many of `n` values a fraction is: at least one, if there is one."""
    return min(n, max(1, math.floor(fraction * n + 0.5)))


def largest(size: NDArray[Any], k: int) -> NDArray[np.int64]:
    """Sorted positions of the `k` largest values; among equal ones, the first."""
    if k == 0:
        return np.empty(0, np.int64)
    threshold = np.partition(size, len(size) - k)[len(size) - k]
    chosen = size > threshold
    equal = np.flatnonzero(size == threshold)
    chosen[equal[: k - int(chosen.sum())]] = True
    return np.flatnonzero(chosen)


def at_random(draw: np.random.Generator, n: int, k: int) -> NDArray[np.int64]:
    """`k` of `n` positions, sorted."""
    # Rank raw PCG64 output, which numpy keeps stable (NEP 19), instead of using
    # Generator.choice, which may change: client and server may have different numpy versions.
    raw = draw.bit_generator.random_raw(-(-n // 2))
    return largest(np.asarray(raw, "<u8").view("<u4")[:n], k)


def scatter(values: NDArray[Any], indices: NDArray[np.int64], n: int, name: str) -> NDArray[Any]:
    """`(n,)` with these values at these positions, and zeros elsewhere.

    Raises:
        PayloadError: there are more or fewer values than positions; it names the step.
    """
    if len(values) != len(indices):
        raise PayloadError(f"{name}: there are {len(values)} values; of {n}, {len(indices)} are sent")
    dense = np.zeros(n, values.dtype)
    dense[indices] = values
    return dense
