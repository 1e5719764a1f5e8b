"""Golomb codes of positions: back to the same ones, near the entropy, and strict."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.ring.golomb import pack_positions, unpack_positions
from hedgerow.types import PayloadError

relaxed = settings(deadline=None, max_examples=150)


@st.composite
def positions(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    n = draw(st.integers(0, 400))
    marked = draw(st.sets(st.integers(0, n - 1))) if n else set()
    return np.array(sorted(marked), np.int64), n


@given(positions())
@relaxed
def test_positions_come_back(case: tuple[np.ndarray, int]) -> None:
    indices, n = case
    code = pack_positions(indices, n)
    assert code.dtype == np.uint8
    assert unpack_positions(code, n, len(indices)).tolist() == indices.tolist()


@given(positions(), st.data())
@relaxed
def test_another_code_is_refused_or_is_as_many_positions_in_order(
    case: tuple[np.ndarray, int], data: st.DataObject
) -> None:
    indices, n = case
    changed = bytearray(pack_positions(indices, n).tobytes())
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    code = np.frombuffer(bytes(changed[: data.draw(st.integers(0, len(changed)))]), np.uint8)
    try:
        found = unpack_positions(code, n, len(indices))
    except PayloadError:
        return
    assert len(found) == len(indices)
    assert (np.diff(found, prepend=-1) > 0).all()
    assert (found < n).all()


@pytest.mark.parametrize("fraction", [0.001, 0.0025, 0.01, 0.03, 0.05, 0.1, 0.15])
def test_random_positions_take_their_entropy_and_one_percent_at_most(fraction: float) -> None:
    n = 2_000_000
    indices = np.flatnonzero(np.random.default_rng(3).random(n) < fraction)
    p = len(indices) / n
    entropy = n * (-p * math.log2(p) - (1 - p) * math.log2(1 - p)) / 8
    assert entropy < len(pack_positions(indices, n)) < 1.01 * entropy + 3


@pytest.mark.parametrize("first", [128, 255])
def test_a_first_byte_that_no_code_has_is_refused(first: int) -> None:
    with pytest.raises(PayloadError, match="a byte up to 127"):
        unpack_positions(np.array([first, 1], np.uint8), 8, 1)
    with pytest.raises(PayloadError, match="a byte up to 127"):
        unpack_positions(np.empty(0, np.uint8), 8, 1)
