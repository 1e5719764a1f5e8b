"""The fields of messages, each read with its check."""

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hedgerow.types import Arrays, PayloadError
from hedgerow.wire.arrays import unpack_arrays
from hedgerow.wire.content import ArrayRecord, ConfigRecord, Content, MetricRecord
from hedgerow.wording import shown

MAIN, SECURE, METRICS = "hedgerow", "secure", "hedgerow.metrics"
"""Names of records."""

NO_VALUES: NDArray[np.float32] = np.empty(0, np.float32)
R = TypeVar("R", ArrayRecord, ConfigRecord, MetricRecord)


def record(content: Content, key: str, kind: type[R]) -> R:
    """The record with this name and kind; raises `PayloadError`, like all functions here."""
    found = content.get(key)
    if not isinstance(found, kind):
        raise PayloadError(f"the {kind.__name__} {key!r} is missing; the records are {sorted(content)}")
    return found


def config(content: Content) -> Mapping[str, Any]:
    """The settings of a message."""
    return record(content, MAIN, ConfigRecord)


def arrays(content: Content, key: str) -> Arrays:
    """The arrays of a record."""
    return unpack_arrays(record(content, key, ArrayRecord), key)


def float_vector(given: Arrays, name: str, size: int) -> NDArray[np.float32]:
    """One array of a known size; empty if it is missing."""
    values = given.get(name, NO_VALUES)
    check_vector(name, values, size)
    return values


def check_vector(name: str, values: NDArray[Any], size: int) -> None:
    """Refuse an array that is not `(size,) float32`."""
    if values.dtype != np.float32 or values.shape != (size,):
        raise PayloadError(f"{name!r} is {values.dtype} {values.shape}; it must be float32 ({size},)")


def text(settings: Mapping[str, Any], key: str) -> str:
    """A text of 1 to 200 characters."""
    value = settings.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable():
        raise PayloadError(f"{key} is {shown(value)}; it must be a text of 1 to 200 printable characters")
    return value


def whole(settings: Mapping[str, Any], key: str) -> int:
    """A whole number, 0 or above."""
    value = settings.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise PayloadError(f"{key} is {shown(value)}; it must be a whole number, 0 or above")
    return value


def digest(settings: Mapping[str, Any], key: str) -> bytes:
    """A SHA-256 hash, 32 bytes."""
    value = settings.get(key)
    if not isinstance(value, bytes) or len(value) != 32:
        raise PayloadError(f"{key} is {shown(value)}; it must be the 32 bytes of a SHA-256 hash")
    return value
