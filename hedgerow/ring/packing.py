"""Compact encodings of integers: k-bit codes, and sorted positions.

All layouts are little-endian and the same on every machine. Reading is strict:
a wrong length, non-zero padding or a left-over byte is a `PayloadError`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hedgerow.types import PayloadError

Bytes = NDArray[np.uint8]

_BITMAP = 255
_MAX_RICE = 31
_PART = 2**16


def packed_bytes(count: int, bits: int) -> int:
    """Bytes that `count` codes of `bits` bits take.

    >>> packed_bytes(10, 3)
    4
    """
    return (count * bits + 7) // 8


def pack(codes: NDArray[Any], bits: int) -> Bytes:
    """Pack codes of `bits` bits each, 0 to 32, without gaps.

    Args:
        codes: `(n,)` unsigned, each below `2**bits`.
        bits: bits per code. Above 8, all low bytes come first, followed by the
            remaining high bits, packed in the same way.

    Returns:
        `(ceil(n * bits / 8),) uint8`; unused bits of the last byte are zero.

    >>> pack(np.array([1, 2, 3], np.uint8), 4).tolist()
    [33, 3]
    """
    if bits == 0:
        return np.empty(0, np.uint8)
    if bits > 8:
        return np.concatenate([(codes & 255).astype(np.uint8), pack(codes >> 8, bits - 8)])
    if bits == 8:
        return codes.astype(np.uint8)
    groups = -(-len(codes) // 8)
    lanes = np.zeros(groups * 8, np.uint8)
    lanes[: len(codes)] = codes
    words = lanes.view("<u8")
    # Eight codes, one in each byte of a word, move together in three steps:
    # pairs of bytes, then of 16-bit lanes, then of 32-bit lanes.
    for width in (8, 16, 32):
        size = bits * width // 8
        low = _lanes(size, width)
        words = (words & low) | ((words >> np.uint64(width - size)) & (low << np.uint64(size)))
    packed = words.astype("<u8", copy=False).view(np.uint8).reshape(groups, 8)[:, :bits].reshape(-1)
    return np.ascontiguousarray(packed[: packed_bytes(len(codes), bits)])


def unpack(packed: Bytes, bits: int, count: int) -> NDArray[np.unsignedinteger[Any]]:
    """Undo `pack`.

    Returns:
        `(count,)`, uint8 up to 8 bits, uint16 up to 16, uint32 above.

    Raises:
        PayloadError: the number of bytes is wrong for `count` codes, or a
            padding bit is set.
    """
    _check_length(packed, bits, count)
    if bits == 0:
        return np.zeros(count, np.uint8)
    if bits > 8:
        high = unpack(packed[count:], bits - 8, count)
        wide = high.astype(np.uint16) if bits <= 16 else high.astype(np.uint32)
        return np.bitwise_or(np.left_shift(wide, 8), packed[:count])
    if bits == 8:
        return packed
    groups = -(-count // 8)
    padded = np.zeros(groups * bits, np.uint8)
    padded[: len(packed)] = packed
    lanes = np.zeros((groups, 8), np.uint8)
    lanes[:, :bits] = padded.reshape(groups, bits)
    words = lanes.reshape(-1).view("<u8")
    for width in (32, 16, 8):
        size = bits * width // 8
        low = _lanes(size, width)
        words = (words & low) | ((words & (low << np.uint64(size))) << np.uint64(width - size))
    bytewise = words.astype("<u8", copy=False).view(np.uint8)
    if bytewise[count:].any():
        raise _padded(bits, count)
    return bytewise[:count]


def unpack_from(table: NDArray[np.float32], packed: Bytes, bits: int, count: int) -> NDArray[np.float32]:
    """The entry of each code: `table[unpack(packed, bits, count)]`.

    Where whole codes fill a byte, all entries of a byte are looked up at once, which takes a fourth of the
    time.

    Args:
        table: `(2**bits,) float32`.
        packed: `uint8`, as `pack` gives them.
        bits: 1 to 8.
        count: of codes.

    Raises:
        PayloadError: as `unpack` does.

    >>> unpack_from(np.array([0.5, 2], np.float32), np.array([5], np.uint8), 1, 3).tolist()
    [2.0, 0.5, 2.0]
    """
    if 8 % bits:
        return _looked_up(table, unpack(packed, bits, count))
    _check_length(packed, bits, count)
    over = len(packed) * 8 - count * bits
    if over and packed[-1] >> (8 - over):
        raise _padded(bits, count)
    codes = np.arange(256)[:, None] >> np.arange(0, 8, bits) & (1 << bits) - 1
    return _looked_up(table[codes], packed).reshape(-1)[:count]


def _check_length(packed: Bytes, bits: int, count: int) -> None:
    expected = packed_bytes(count, bits)
    if len(packed) != expected:
        raise PayloadError(f"there are {len(packed)} bytes; {count} codes of {bits} bits take {expected}")


def _padded(bits: int, count: int) -> PayloadError:
    return PayloadError(f"the padding after {count} codes of {bits} bits is not zero")


def _looked_up(table: NDArray[np.float32], codes: NDArray[Any]) -> NDArray[np.float32]:
    """The table's entry of each code; in parts, which takes half the time."""
    found = np.empty((len(codes), *table.shape[1:]), np.float32)
    for start in range(0, len(codes), _PART):
        part = slice(start, start + _PART)
        np.take(table, codes[part], axis=0, out=found[part], mode="clip")
    return found


def pack_indices(indices: NDArray[np.int64], n: int) -> Bytes:
    """Encode distinct, sorted positions in `0 .. n - 1`.

    The first byte selects the format. 0 to 31 is the parameter `r` of a Rice
    code of the gaps between positions (Rice and Plaunt 1971): first the low `r`
    bits of every gap, packed, then the remaining high part of every gap in
    unary, as that many 0 bits and a 1 bit. 255 is a bitmap of `n` bits. The
    shorter format is used, so the code is at most one byte longer than the
    bitmap.

    Returns:
        `uint8`. For a random 1 % of positions, about 8.1 bits per position; the
        entropy is 8.08.

    >>> pack_indices(np.array([3, 5, 21]), 1000).tolist()
    [2, 55, 35]
    """
    count = len(indices)
    gaps = np.diff(indices, prepend=-1) - 1
    widest = int(gaps.max(initial=0)).bit_length()
    unary = {r: count + int((gaps >> r).sum()) for r in range(min(widest, _MAX_RICE) + 1)}
    r = min(unary, key=lambda r: packed_bytes(count, r) + packed_bytes(unary[r], 1))
    if packed_bytes(count, r) + packed_bytes(unary[r], 1) >= packed_bytes(n, 1):
        bits = np.zeros(n, np.uint8)
        bits[indices] = 1
        return np.concatenate([np.array([_BITMAP], np.uint8), np.packbits(bits, bitorder="little")])
    low = (gaps & ((1 << r) - 1)).astype(np.uint32)
    return np.concatenate([np.array([r], np.uint8), pack(low, r), pack_unary(gaps >> r)])


def unpack_indices(code: Bytes, n: int, count: int) -> NDArray[np.int64]:
    """Undo `pack_indices`, for exactly `count` positions below `n`.

    Raises:
        PayloadError: `pack_indices` cannot have written the code for that many
            positions. Memory use stays within a few times `n`.
    """
    if len(code) == 0:
        raise PayloadError("the positions have no bytes; the first must tell how they are coded")
    head, body = int(code[0]), code[1:]
    if head == _BITMAP:
        return _read_bitmap(body, n, count)
    if head > _MAX_RICE:
        raise PayloadError(
            f"the positions start with {head}; it must be 0 to {_MAX_RICE}, or {_BITMAP} for a bitmap"
        )
    split = packed_bytes(count, head)
    if not split <= len(body) <= split + packed_bytes(count + (n >> head), 1):
        raise PayloadError(f"{len(code)} bytes cannot be the Rice code of {count} positions below {n}")
    low = unpack(body[:split], head, count).astype(np.int64)
    gaps = (unpack_unary(body[split:], count) << head) | low
    indices = np.cumsum(gaps + 1) - 1
    if count and indices[-1] >= n:
        raise PayloadError(f"the last position is {indices[-1]}; it must be below {n}")
    return indices


def pack_unary(numbers: NDArray[np.int64]) -> Bytes:
    """Each number as that many 0 bits and a 1 bit.

    >>> pack_unary(np.array([2, 0, 3])).tolist()
    [140]
    """
    bits = np.zeros(int(numbers.sum()) + len(numbers), np.uint8)
    bits[np.cumsum(numbers + 1) - 1] = 1
    return np.packbits(bits, bitorder="little")


def unpack_unary(body: Bytes, count: int) -> NDArray[np.int64]:
    """Undo `pack_unary`.

    Raises:
        PayloadError: there are more or fewer numbers, or bytes that none of them needs.
    """
    ends = np.flatnonzero(np.unpackbits(body, bitorder="little"))
    used = packed_bytes(int(ends[-1]) + 1, 1) if len(ends) else 0
    if len(ends) != count or len(body) != used:
        raise PayloadError(
            f"{len(body)} bytes hold {len(ends)} positions; they must be {used} bytes for {count}"
        )
    return np.diff(ends, prepend=-1) - 1


def _read_bitmap(body: Bytes, n: int, count: int) -> NDArray[np.int64]:
    if len(body) != packed_bytes(n, 1):
        raise PayloadError(f"the bitmap has {len(body)} bytes; {n} values take {packed_bytes(n, 1)}")
    bits = np.unpackbits(body, bitorder="little")
    if bits[n:].any():
        raise PayloadError(f"the padding after the bitmap of {n} values is not zero")
    indices = np.flatnonzero(bits)
    if len(indices) != count:
        raise PayloadError(f"the bitmap marks {len(indices)} positions; it must mark {count}")
    return indices


def _lanes(size: int, width: int) -> np.uint64:
    """`size` ones at the start of each lane of `2 * width` bits."""
    return np.uint64(sum(((1 << size) - 1) << start for start in range(0, 64, 2 * width)))
