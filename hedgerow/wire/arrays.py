"""Arrays in messages: numpy's `.npy` format, version 1.0, written with one copy and read with none."""

import math
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hedgerow.types import Arrays, PayloadError
from hedgerow.wire.content import Array, ArrayRecord

STYPE = "numpy.ndarray"
"""The `stype` of an array in the `.npy` format."""

_PLAIN = {
    np.dtype(f"{kind}{bits}"): f"{kind}{bits}"
    for kind in ("int", "uint", "float")
    for bits in (8, 16, 32, 64)
    if (kind, bits) != ("float", 8)
}
_NAMES = frozenset(_PLAIN.values())
_READ_HEAD = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def pack_arrays(arrays: Arrays) -> ArrayRecord:
    """The arrays as a record.

    >>> pack_arrays({"x": np.zeros(3, np.float32)})["x"].data[:6]
    b'\\x93NUMPY'
    """
    return ArrayRecord({name: _pack(np.asarray(values, order="C")) for name, values in arrays.items()})


def unpack_arrays(record: ArrayRecord, key: str) -> Arrays:
    """The arrays of the record named `key`, read-only.

    Raises:
        PayloadError: one cannot be read, or does not hold plain numbers.
    """
    arrays = {}
    for name, array in record.items():
        try:
            arrays[name] = read_array(array)
        except Exception as error:  # whatever numpy raises on bytes from outside
            raise PayloadError(f"array {name!r} of {key!r} cannot be read: {error}") from error
    return arrays


def read_array(array: Array) -> NDArray[Any]:
    """The array in the bytes, read-only, without using more memory.

    Only the bytes decide, whatever `dtype` and `shape` say.

    Raises:
        ValueError: they are not exactly one array of plain numbers in the `.npy` format.
    """
    if array.stype != STYPE:
        raise ValueError(f"it is written as {array.stype!r}; only {STYPE!r} can be read")
    data = array.data
    if array.dtype in _NAMES and len(array.shape) == 1:
        head, dtype = _head(array.dtype, array.shape), np.dtype(array.dtype)
        if data.startswith(head) and len(data) == len(head) + array.shape[0] * dtype.itemsize:
            return np.frombuffer(data, dtype, offset=len(head))
    stream = BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in _READ_HEAD:
        raise ValueError(f"its format has version {version}; it must be one of {sorted(_READ_HEAD)}")
    shape, by_columns, dtype = _READ_HEAD[version](stream)
    if dtype.hasobject or dtype.names:
        raise ValueError(f"its numbers are {dtype}; they must be plain")
    values: NDArray[Any] = np.frombuffer(data, dtype, offset=stream.tell())
    if min(shape, default=0) < 0 or values.size != math.prod(shape):
        raise ValueError(f"it has {values.size} numbers; its shape is {shape}")
    return values.reshape(shape, order="F" if by_columns else "C")


@lru_cache(maxsize=64)
def _head(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The header that numpy writes before the numbers of a plain array."""
    head = BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    )
    return head.getvalue()


def _pack(values: NDArray[Any]) -> Array:
    dtype = _PLAIN.get(values.dtype)
    if dtype is not None:
        data = b"".join((_head(dtype, values.shape), values.reshape(-1).view(np.uint8).data))
        return Array(dtype, values.shape, STYPE, data)
    stream = BytesIO()
    np.save(stream, values, allow_pickle=False)
    return Array(str(values.dtype), values.shape, STYPE, stream.getvalue())
