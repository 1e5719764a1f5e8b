"""The entropy coder: back to the same codes, near the entropy, and strict."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hedgerow.ring import ans
from hedgerow.ring.ans import compress, expand
from hedgerow.ring.packing import pack
from hedgerow.types import PayloadError

relaxed = settings(deadline=None, max_examples=60)


@st.composite
def codes(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    bits = draw(st.integers(1, 8))
    some = st.integers(0, 2**bits - 1) | st.just(0)
    few = draw(arrays(np.uint8, draw(st.integers(0, 12)), elements=some))
    return np.repeat(few, draw(st.integers(1, 12))), bits


@given(codes())
@relaxed
def test_codes_come_back_and_take_one_byte_more_than_packed_at_most(case: tuple[np.ndarray, int]) -> None:
    found, bits = case
    data = compress(found, bits)
    assert len(data) <= 1 + len(pack(found, bits))
    assert expand(data, bits, len(found)).tolist() == found.tolist()


@given(codes(), st.data())
@relaxed
def test_other_data_is_refused_or_is_as_many_codes(case: tuple[np.ndarray, int], data: st.DataObject) -> None:
    found, bits = case
    changed = bytearray(compress(found, bits).tobytes())
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(changed[: data.draw(st.integers(0, len(changed)))])
    try:
        other = expand(np.frombuffer(cut, np.uint8), bits, len(found))
    except PayloadError:
        return
    assert other.dtype == np.uint8
    assert len(other) == len(found)
    assert other.max(initial=0) < 2**bits


@pytest.mark.parametrize(("bits", "spread"), [(1, 0.35), (2, 0.5), (4, 1.0), (4, 3.0), (8, 3.0), (8, 30.0)])
@pytest.mark.parametrize("n", [10_000, 300_000])
def test_codes_take_their_entropy_a_table_and_one_percent_at_most(bits: int, spread: float, n: int) -> None:
    middle = 2 ** (bits - 1) - 0.3
    drawn = np.rint(np.random.default_rng(2).normal(middle, spread, n)).clip(0, 2**bits - 1).astype(np.uint8)
    share = np.bincount(drawn) / n
    entropy = -(share[share > 0] @ np.log2(share[share > 0])) * n / 8
    assert entropy < len(compress(drawn, bits)) < 1.01 * entropy + 2**bits + 10


@given(st.integers(1, 256), st.integers(0, 2**32 - 1))
@relaxed
def test_frequencies_fill_the_range_and_no_code_that_occurs_has_none(codes: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    counts = (2 ** draw.uniform(-5, 30, codes)).astype(np.int64)
    counts[0] += not counts.any()
    found = ans._frequencies(ans._rounded(counts)[2])
    assert found.sum() == 2**15
    assert ((found > 0) == (counts > 0)).all()


def test_no_table_leaves_the_most_frequent_code_without_room() -> None:
    for rare in range(256):
        counts = np.array([1] * rare + [10**6] * (256 - rare))
        found = ans._frequencies(counts)
        assert found.min() >= 1
        assert found.sum() == 2**15


@pytest.mark.parametrize("lanes", [0, 2, 2**31])
def test_more_steps_than_rows_or_more_lanes_than_codes_are_refused(lanes: int) -> None:
    n = 3 * 8192
    data = compress(np.zeros(n, np.uint8), 8)
    assert data[0] == 1
    assert int.from_bytes(data[1:5].tobytes(), "little") == 3
    data[1:5] = np.frombuffer(lanes.to_bytes(4, "little"), np.uint8)
    with pytest.raises(PayloadError):
        expand(data, 8, n)
    with pytest.raises(PayloadError, match="0 codes have"):
        expand(data, 8, 0)
