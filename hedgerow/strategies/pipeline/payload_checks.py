"""Checks of the values that are encoded or decoded."""

from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hedgerow.types import Payload, PayloadError


def take(payload: Payload, name: str, dtype: type[Any]) -> NDArray[Any]:
    """One array of a payload, for `decode` of a step.

    Raises:
        PayloadError: it is missing, not one-dimensional, or not of that dtype
            (an abstract dtype such as `np.floating` allows all of its subtypes).
    """
    if name not in payload.arrays:
        raise PayloadError(f"the array {name!r} is missing; the payload has {sorted(payload.arrays)}")
    array = payload.arrays[name]
    if array.ndim != 1 or not (array.dtype.type is dtype or np.issubdtype(array.dtype, dtype)):
        raise PayloadError(
            f"the array {name!r} is {array.dtype} {array.shape}; it must be one-dimensional {dtype.__name__}"
        )
    return array


def require_finite(step: str, values: NDArray[Any]) -> None:
    """Refuse to encode values that are not finite.

    Raises:
        ValueError: names the step, the first non-finite value and its position.
    """
    if not _all_finite(values):
        finite = np.isfinite(values)
        position = int(np.argmin(finite))
        raise ValueError(
            f"{step}: {len(values) - int(finite.sum())} of {len(values)} values are not finite; the first is"
            f" {values[position]} at position {position}. Training has diverged: try a smaller learning rate"
        )


def check_values(payload: Payload, n: int, dtype: type[Any], *, finite: bool = True) -> None:
    """Refuse a payload unless its only array is `n` values of that dtype, finite ones with `finite`.

    Raises:
        PayloadError: says what was given and what is allowed.
    """
    values = take(payload, "values", dtype)
    extra = sorted(set(payload.arrays) - {"values"})
    if extra:
        raise PayloadError(f"the arrays {extra} are left over; no step of the pipeline reads them")
    if len(values) != n:
        raise PayloadError(f"there are {len(values)} values; there must be {n}")
    if finite and not _all_finite(values):
        raise PayloadError(f"{n - int(np.isfinite(values).sum())} of {n} values are not finite")


def _all_finite(values: NDArray[Any]) -> bool:
    # NaN or infinity shows in one of the two; this takes half the time of checking each value.
    return not len(values) or (isfinite(values.max()) and isfinite(values.min()))
