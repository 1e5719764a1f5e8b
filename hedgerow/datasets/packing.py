"""The container format of an embedded data set: concatenated arrays, compressed with xz.

A packed file is the concatenation of `.npy` records (format 1.0, C order,
little endian), compressed as one xz stream with the LZMA2 settings below. It has no
time stamp, file name or machine, so equal arrays give equal bytes. Nothing in it
is pickled.
"""

import hashlib
import io
import lzma
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Every setting is explicit, because a preset may change in a later liblzma.
_LZMA2 = {
    "id": lzma.FILTER_LZMA2,
    "dict_size": 1 << 23,
    "lc": 4,
    "lp": 0,
    "pb": 0,
    "mode": lzma.MODE_NORMAL,
    "nice_len": 273,
    "mf": lzma.MF_BT4,
    "depth": 512,
}


class DataFileError(ValueError):
    """A data file is missing, damaged, or not what was asked for; the message names it."""


def pack(arrays: Sequence[NDArray[Any]]) -> bytes:
    """The bytes of a packed file of these arrays.

    >>> [a.tolist() for a in unpack(pack([np.arange(3), np.ones((1, 2))]))]
    [[0, 1, 2], [[1.0, 1.0]]]
    """
    stream = io.BytesIO()
    for array in arrays:
        little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
        np.lib.format.write_array(stream, little, version=(1, 0), allow_pickle=False)
    return lzma.compress(stream.getvalue(), lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=[_LZMA2])


def unpack(packed: bytes) -> list[NDArray[Any]]:
    """The arrays of a packed file, in the order in which they were packed."""
    content = lzma.decompress(packed, lzma.FORMAT_XZ)
    stream, arrays = io.BytesIO(content), []
    while stream.tell() < len(content):
        arrays.append(np.lib.format.read_array(stream, allow_pickle=False))
    return arrays


def read_embedded(file: str, sha256: str) -> list[NDArray[Any]]:
    """The arrays of a file in `hedgerow/datasets/embedded`, after checking its hash.

    Raises:
        DataFileError: the file is missing, or is not the one that Hedgerow was
            released with.
    """
    place = files("hedgerow.datasets") / "embedded" / file
    try:
        packed = place.read_bytes()
    except OSError as problem:
        raise DataFileError(f"{place} cannot be read ({problem}); reinstall hedgerow") from problem
    found = hashlib.sha256(packed).hexdigest()
    if found != sha256:
        raise DataFileError(
            f"{place} is damaged: its SHA-256 is {found}; it must be {sha256}. Reinstall hedgerow"
        )
    return unpack(packed)
