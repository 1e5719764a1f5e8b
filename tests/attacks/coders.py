"""Packed, Golomb and entropy coded bytes alone, of more values than a payload here has.

They are to be changed, and to be read. The first byte says what the others are read as, and how many values:
both are what a receiver knows by itself.
"""

from collections.abc import Callable, Iterable

import numpy as np

from hedgerow.ring.ans import compress, expand
from hedgerow.ring.golomb import pack_positions, unpack_positions
from hedgerow.ring.packing import Bytes, pack, pack_indices, unpack, unpack_from, unpack_indices
from hedgerow.types import PayloadError

RANDOM = np.random.default_rng(5)
COUNTS = (0, 1, 61, 700)
FORMS = tuple((bits, count) for bits in range(1, 9) for count in COUNTS)
BELOW = 3000
MARKED = (0, 1, 30, 400, BELOW)
POSITIONS = ((pack_positions, unpack_positions), (pack_indices, unpack_indices))


def _form(data: bytes) -> tuple[int, int, Bytes]:
    bits, count = FORMS[data[0] % len(FORMS) if data else 0]
    return bits, count, np.frombuffer(data[1:], np.uint8)


def _coded(code: Callable[[Bytes, int], Bytes]) -> Iterable[bytes]:
    """Codes of which the low ones are frequent."""
    for number, (bits, count) in enumerate(FORMS):
        codes = np.minimum(RANDOM.geometric(0.4, count) - 1, 2**bits - 1).astype(np.uint8)
        yield bytes([number]) + code(codes, bits).tobytes()


def _read_packed(data: bytes) -> None:
    bits, count, packed = _form(data)
    table = np.arange(2**bits, dtype=np.float32)
    try:
        found = unpack_from(table, packed, bits, count)
    except PayloadError:
        found = None
    assert found is None or (found.dtype == np.float32 and found.shape == (count,))
    codes = unpack(packed, bits, count)  # which refuses what the other does
    assert found is not None
    assert np.array_equal(found, codes)
    assert np.array_equal(pack(codes, bits), packed), "two codes of the same values"


def _read_entropy(data: bytes) -> None:
    bits, count, coded = _form(data)
    found = expand(coded, bits, count)
    assert found.dtype == np.uint8
    assert found.shape == (count,)
    assert found.max(initial=0) < 2**bits


def _read_positions(data: bytes) -> None:
    way, place = divmod(data[0] if data else 0, len(MARKED))
    count, read = MARKED[place], POSITIONS[way % len(POSITIONS)][1]
    found = read(np.frombuffer(data[1:], np.uint8), BELOW, count)
    assert found.shape == (count,)
    assert count == 0 or (found[0] >= 0 and found[-1] < BELOW and (np.diff(found) > 0).all())


def _positions() -> Iterable[bytes]:
    for way, (write, _) in enumerate(POSITIONS):
        for place, count in enumerate(MARKED):
            marked = np.sort(RANDOM.choice(BELOW, count, replace=False)).astype(np.int64)
            yield bytes([way * len(MARKED) + place]) + write(marked, BELOW).tobytes()


CODERS: dict[str, tuple[Callable[[bytes], None], tuple[bytes, ...]]] = {
    "packed codes": (_read_packed, tuple(_coded(pack))),
    "entropy codes": (_read_entropy, tuple(_coded(compress))),
    "positions": (_read_positions, tuple(_positions())),
}
"""Of each: what reads it, and what it takes."""
