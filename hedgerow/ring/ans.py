"""An entropy coder for codes of up to 8 bits: interleaved rANS (Duda 2013, arXiv:1311.2540), vectorised.

The codes lie in rows of one code a lane, and each lane has a state of its own, so that a step of the coder
is a few operations on arrays. Layouts are little-endian and the same on every machine; reading is strict.
"""

import numpy as np
from numpy.typing import NDArray

from hedgerow.ring.packing import Bytes, pack, packed_bytes, unpack
from hedgerow.types import PayloadError

Codes = NDArray[np.uint8]

_TOTAL = 15
"""Frequencies add up to `2**15`."""

_LEAST = np.uint64(2**16)
"""States are from here up to 2**32; words of 16 bits move in and out of them."""

_MOST_ROWS = 8192
_LANE = 512
"""Bytes for which there is a lane: its state takes 4, of which about 2 carry what was coded."""

_PLAIN, _CODED = 0, 1


def compress(codes: Codes, bits: int) -> Bytes:
    """Encode codes of `bits` bits, 1 to 8, in about their entropy.

    The first byte is 0 if the packed codes follow, which are then no longer than anything else. After a 1
    there are: the number of lanes, 4 bytes; of each possible code, the length of its count in bits, in 5
    bits, packed; of each that occurs, the next 3 bits of its count, packed; each lane's state, 4 bytes;
    and the words, 2 bytes each.

    Returns:
        `uint8`; of 10,000 codes or more with an entropy of half a bit or more,
        within 1 % of the entropy and the table, which takes about a byte for each possible code.

    >>> codes = np.zeros(4000, np.uint8)
    >>> codes[::10] = 3
    >>> len(compress(codes, 2)), len(pack(codes, 2))
    (247, 1000)
    """
    plain = np.concatenate([np.array([_PLAIN], np.uint8), pack(codes, bits)])
    counts = np.bincount(codes, minlength=1 << bits)
    lengths, digits, rounded = _rounded(counts)
    if len(codes) == 0 or len(codes) >= 2**31:
        return plain
    frequencies = _frequencies(rounded)
    occurring = counts > 0
    size = -(counts[occurring] @ np.log2(frequencies[occurring] / 2**_TOTAL)) / 8
    lanes = max(1, int(size) // _LANE, -(-len(codes) // _MOST_ROWS))
    if size + 2 * lanes >= len(plain):
        return plain
    states, words = _encode(codes, frequencies, lanes)
    head = np.array([_CODED, *lanes.to_bytes(4, "little")], np.uint8)
    table = [pack(lengths.astype(np.uint8), 5), pack(digits[occurring].astype(np.uint8), 3)]
    coded = np.concatenate([head, *table, states.astype("<u4").view(np.uint8), words.view(np.uint8)])
    return coded if len(coded) < len(plain) else plain


def expand(data: Bytes, bits: int, count: int) -> Codes:
    """Undo `compress`, for exactly `count` codes.

    Raises:
        PayloadError: `compress` cannot have written the data for that many codes.
            Memory use stays within a few times `count`, and the number of steps within 8192.
    """
    if len(data) == 0 or data[0] > _CODED:
        raise PayloadError("the codes must start with a 0 or a 1, which tells how they are coded")
    if data[0] == _PLAIN:
        return unpack(data[1:], bits, count).astype(np.uint8, copy=False)
    lanes = int.from_bytes(data[1:5].tobytes(), "little")
    if not max(1, -(-count // _MOST_ROWS)) <= lanes <= count:
        raise PayloadError(f"{count} codes have {lanes} lanes; a lane has 1 to {_MOST_ROWS} codes")
    first = 5 + packed_bytes(1 << bits, 5)
    lengths = unpack(data[5:first], 5, 1 << bits).astype(np.int64)
    occurring = lengths > 0
    used = int(occurring.sum())
    second = first + packed_bytes(used, 3)
    digits = np.zeros(1 << bits, np.int64)
    digits[occurring] = unpack(data[first:second], 3, used)
    rest = data[second:]
    if used == 0 or len(rest) < 4 * lanes or len(rest) % 2:
        raise PayloadError(f"{len(data)} bytes cannot hold the table and the states of {lanes} lanes")
    states = rest[: 4 * lanes].view("<u4").astype(np.uint64)
    words = rest[4 * lanes :].view("<u2").astype(np.uint64)
    return _decode(states, words, _frequencies(_counts(lengths, digits)), count)


def _rounded(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The length of each count in bits, the 3 bits after its first, and the count that these tell."""
    lengths = np.frexp(counts)[1].astype(np.int64)
    digits = np.where(counts > 0, (counts << 4 >> lengths) - 8, 0)
    return lengths, digits, _counts(lengths, digits)


def _counts(lengths: NDArray[np.int64], digits: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(lengths > 0, (8 + digits) << lengths >> 4, 0)


def _frequencies(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Whole numbers in the proportions of the counts, at least 1 where there is one, with a sum of 2**15."""
    found = np.where(counts > 0, np.maximum(1, (counts << _TOTAL) // max(1, int(counts.sum()))), 0)
    # What rounding leaves goes to the most frequent one, which is always more than it may have to give.
    found[np.argmax(found)] += 2**_TOTAL - found.sum()
    return found


def _starts(frequencies: NDArray[np.int64]) -> NDArray[np.uint64]:
    return (np.cumsum(frequencies) - frequencies).astype(np.uint64)


def _encode(
    codes: Codes, frequencies: NDArray[np.int64], lanes: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """States and words; the last row first, so that the first is decoded first."""
    states, written = np.full(lanes, _LEAST), []
    f, starts = frequencies.astype(np.uint64), _starts(frequencies)
    for begin in range((len(codes) - 1) // lanes * lanes, -1, -lanes):
        row = codes[begin : begin + lanes]
        state, frequency = states[: len(row)], f.take(row)
        full = state >= frequency << np.uint64(32 - _TOTAL)
        written.append((state[full] & np.uint64(0xFFFF)).astype("<u2"))
        state[full] >>= np.uint64(16)
        quotient, rest = np.divmod(state, frequency)
        state[:] = (quotient << np.uint64(_TOTAL)) + rest + starts.take(row)
    return states, np.concatenate(written[::-1])


def _decode(
    states: NDArray[np.uint64], words: NDArray[np.uint64], frequencies: NDArray[np.int64], count: int
) -> Codes:
    found, at = np.empty(count, np.uint8), 0
    f, starts = frequencies.astype(np.uint64), _starts(frequencies)
    symbols = np.repeat(np.arange(len(f), dtype=np.uint8), frequencies)
    for begin in range(0, count, len(states)):
        state = states[: min(len(states), count - begin)]
        slot = state & np.uint64(2**_TOTAL - 1)
        row = symbols.take(slot)
        found[begin : begin + len(state)] = row
        state >>= np.uint64(_TOTAL)
        state *= f.take(row)
        state += slot - starts.take(row)
        empty = np.flatnonzero(state < _LEAST)
        if at + len(empty) > len(words):
            raise PayloadError(f"the codes end after {begin} of {count}")
        state[empty] = (state[empty] << np.uint64(16)) | words[at : at + len(empty)]
        at += len(empty)
    if at != len(words) or (states != _LEAST).any():
        raise PayloadError(f"more than {count} codes were coded, or others")
    return found
