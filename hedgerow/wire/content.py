"""The content of a message: named records of arrays, settings or metrics."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

MetricValue: TypeAlias = int | float | list[int] | list[float]
ConfigValue: TypeAlias = (
    bool | int | float | str | bytes | list[bool] | list[int] | list[float] | list[str] | list[bytes]
)


@dataclass(frozen=True, slots=True)
class Array:
    """One array as it is sent; its dtype and shape are not trusted, see `wire.arrays`.

    Attributes:
        dtype: numpy's name for it, such as `"float32"`.
        shape: of the array.
        stype: the format of `data`; Hedgerow writes `"numpy.ndarray"`.
        data: the array in the `.npy` format.
    """

    dtype: str
    shape: tuple[int, ...]
    stype: str
    data: bytes


class ArrayRecord(dict[str, Array]):
    """Named arrays."""


class MetricRecord(dict[str, MetricValue]):
    """Named numbers, and lists of numbers."""


class ConfigRecord(dict[str, ConfigValue]):
    """Named settings: booleans, numbers, strings, bytes, and lists of one of these."""


Record: TypeAlias = ArrayRecord | MetricRecord | ConfigRecord

Content: TypeAlias = Mapping[str, Record]
"""`{name: record}`, in the order of the bytes."""
