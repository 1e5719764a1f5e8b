"""k-bit codes take k bits, and positions take close to their entropy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.ring.packing import pack, pack_indices, packed_bytes, unpack, unpack_from, unpack_indices
from hedgerow.types import PayloadError


@st.composite
def codes_and_bits(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    bits = draw(st.integers(0, 32))
    codes = draw(st.lists(st.integers(0, 2**bits - 1), max_size=70))
    return np.array(codes, np.uint32), bits


@st.composite
def positions(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    n = draw(st.integers(1, 400) | st.integers(1, 10**7))
    spread = draw(st.sampled_from([1, 30, n]))
    start = draw(st.integers(0, n - 1))
    near = st.integers(start, min(n - 1, start + spread))
    return np.array(sorted(draw(st.sets(near, max_size=60))), np.int64), n


@given(codes_and_bits())
@settings(deadline=None)
def test_codes_come_back_and_take_exactly_their_bits(case: tuple[np.ndarray, int]) -> None:
    codes, bits = case
    packed = pack(codes, bits)
    assert packed.dtype == np.uint8
    assert len(packed) == math.ceil(len(codes) * bits / 8) == packed_bytes(len(codes), bits)
    assert np.array_equal(unpack(packed, bits, len(codes)), codes)


@pytest.mark.parametrize("bits", range(1, 9))
def test_packed_bits_lie_in_order_from_the_lowest(bits: int) -> None:
    codes = (np.arange(37) % 2**bits).astype(np.uint8)
    stream = "".join(format(code, f"0{bits}b")[::-1] for code in codes.tolist())
    bytes_read = [int(stream[i : i + 8].ljust(8, "0")[::-1], 2) for i in range(0, len(stream), 8)]
    assert pack(codes, bits).tolist() == bytes_read


@given(st.integers(1, 8), st.integers(0, 40), st.binary(max_size=40))
@settings(deadline=None)
def test_entries_are_looked_up_or_refused_as_codes_are(bits: int, count: int, sent: bytes) -> None:
    table, packed = np.random.default_rng(bits).random(2**bits, np.float32), np.frombuffer(sent, np.uint8)
    packed = packed[: packed_bytes(count, bits)] if len(packed) % 5 else packed
    try:
        expected: object = table[unpack(packed, bits, count)].tolist()
    except PayloadError as error:
        expected = str(error)
    try:
        found: object = unpack_from(table, packed, bits, count).tolist()
    except PayloadError as error:
        found = str(error)
    assert found == expected


@given(codes_and_bits(), st.integers(-3, 3).filter(bool))
@settings(deadline=None)
def test_another_number_of_bytes_is_refused(case: tuple[np.ndarray, int], extra: int) -> None:
    codes, bits = case
    packed = pack(codes, bits)
    wrong = packed[:extra] if extra < 0 else np.append(packed, np.zeros(extra, np.uint8))
    if len(wrong) != len(packed):
        with pytest.raises(PayloadError, match=f"{len(codes)} codes of {bits} bits take {len(packed)}"):
            unpack(wrong, bits, len(codes))


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 15])
def test_a_set_padding_bit_is_refused(bits: int) -> None:
    packed = pack(np.zeros(3, np.uint16), bits)
    packed[-1] |= 128
    with pytest.raises(PayloadError, match="padding"):
        unpack(packed, bits, 3)


@given(positions())
@settings(deadline=None)
def test_positions_come_back_and_never_cost_more_than_a_bitmap_and_a_byte(
    case: tuple[np.ndarray, int],
) -> None:
    indices, n = case
    code = pack_indices(indices, n)
    assert code.dtype == np.uint8
    assert len(code) <= 1 + math.ceil(n / 8)
    assert np.array_equal(unpack_indices(code, n, len(indices)), indices)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.03, 0.1])
def test_random_positions_cost_at_most_an_eighth_of_a_bit_over_their_entropy(share: float) -> None:
    n = 1_000_000
    chosen = np.sort(np.random.default_rng(5).choice(n, int(share * n), replace=False))
    entropy = -(share * math.log2(share) + (1 - share) * math.log2(1 - share)) / share
    bits = 8 * len(pack_indices(chosen, n)) / len(chosen)
    assert entropy - 0.02 < bits < entropy + 0.125
    if share == 0.01:
        assert bits < 8.12


def test_half_of_all_positions_are_sent_as_a_bitmap() -> None:
    chosen = np.flatnonzero(np.random.default_rng(5).random(10_000) < 0.5)
    code = pack_indices(chosen, 10_000)
    assert code[0] == 255
    assert len(code) == 1251


@given(positions(), st.data())
@settings(deadline=None, max_examples=300)
def test_damaged_positions_are_refused_or_still_positions(
    case: tuple[np.ndarray, int], data: st.DataObject
) -> None:
    indices, n = case
    code = bytearray(pack_indices(indices, n).tobytes())
    for _ in range(data.draw(st.integers(0, 3))):
        code[data.draw(st.integers(0, len(code) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(code)))
    code = code[:cut] + data.draw(st.binary(max_size=3))
    try:
        read = unpack_indices(np.frombuffer(bytes(code), np.uint8), n, len(indices))
    except PayloadError:
        return
    assert len(read) == len(indices)
    assert (np.diff(read) > 0).all()
    assert len(read) == 0 or 0 <= read[0] <= read[-1] < n


@pytest.mark.parametrize(
    ("code", "n", "count", "says"),
    [
        ([], 10, 1, "no bytes"),
        ([40, 1], 10, 1, "start with 40"),
        ([0, 4], 2, 1, "the last position is 2"),
        ([0, 1, 0], 10, 1, "must be 1 bytes for 1"),
        ([0, 3], 10, 1, "2 positions"),
        ([0] + [0] * 50, 10, 1, "cannot be the Rice code"),
        ([3], 10, 4, "cannot be the Rice code"),
        ([255, 1], 10, 1, "the bitmap has 1 bytes; 10 values take 2"),
        ([255, 1, 128], 10, 1, "padding"),
        ([255, 3, 0], 10, 1, "marks 2 positions; it must mark 1"),
    ],
)
def test_impossible_positions_say_what_is_wrong(code: list[int], n: int, count: int, says: str) -> None:
    with pytest.raises(PayloadError, match=says):
        unpack_indices(np.array(code, np.uint8), n, count)
