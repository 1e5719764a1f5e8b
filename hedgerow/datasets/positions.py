"""Checks of arrays of positions of samples, classes or clients."""

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.wording import shown


def places(what: str, values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions as `(n,) int64`; raises `ValueError`, naming `what` they are, if they are invalid."""
    found: NDArray[np.int64] = checks.array(**{what: values})
    if found.ndim != 1 or (found.dtype.kind not in "iu" and found.size):
        raise ValueError(f"{what} is {shown(values)} of type {found.dtype}; it must be (n,) whole numbers")
    return found.astype(np.int64, copy=False)


def check_range(what: str, values: NDArray[np.int64], count: int) -> None:
    """Raise `ValueError` if a value is not from 0 to `count - 1`."""
    if len(values) and (values.min() < 0 or values.max() >= count):
        bad = int(values.min() if values.min() < 0 else values.max())
        raise ValueError(f"{what} is {bad}; it must be a whole number from 0 to {count - 1}")
