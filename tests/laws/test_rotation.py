"""What a random rotation promises: lengths and angles stay, and nothing is padded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.strategies.transforms.rotation import LONGEST, Rotation

SIZES = st.integers(0, 300) | st.sampled_from([LONGEST - 1, LONGEST, LONGEST + 1, 11_274])
relaxed = settings(deadline=None, max_examples=40)


def drawn(n: int, seed: int) -> tuple[np.ndarray, Rotation]:
    draw = np.random.default_rng(seed)
    return draw.standard_normal(n).astype(np.float32), Rotation.drawn(n, draw)


def rotated(x: np.ndarray, rotation: Rotation) -> np.ndarray:
    found = x.astype(np.float32)
    rotation.turn(found)
    return found


@given(SIZES, st.integers(0, 2**32 - 1))
@relaxed
def test_a_rotation_keeps_lengths_and_is_undone(n: int, seed: int) -> None:
    x, rotation = drawn(n, seed)
    turned = rotated(x, rotation)
    assert np.isclose(np.linalg.norm(turned), np.linalg.norm(x), rtol=1e-5)
    rotation.turn_back(turned)
    assert np.allclose(turned, x, atol=1e-5)


@given(SIZES, st.integers(0, 2**32 - 1))
@relaxed
def test_every_value_is_in_one_group_and_a_group_has_8192_at_most(n: int, seed: int) -> None:
    x, rotation = drawn(n, seed)
    sizes = rotation.sums(np.ones(n, np.float32))
    assert len(sizes) == rotation.groups <= -(-n // rotation.rows) if n else rotation.groups == 0
    assert sizes.sum() == n
    assert ((sizes >= 1) & (sizes <= LONGEST)).all()
    groups = np.ones(n, np.float32)
    rotation.scale(groups, np.arange(1, rotation.groups + 1, dtype=np.float32))
    each = np.bincount(groups.astype(int) - 1, weights=x.astype(np.float64), minlength=rotation.groups)
    assert np.allclose(rotation.sums(x), each, atol=1e-6)


def test_it_is_the_matrix_that_the_docstring_says() -> None:
    """Of 8 values: signs, a Hadamard matrix of 8, signs, and one of 8 again."""
    hadamard = np.array([[1]])
    for _ in range(3):
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    _, rotation = drawn(8, 5)
    first, second = (1.0 - 2.0 * signs for signs in rotation.signs)
    matrix = hadamard @ np.diag(second) @ hadamard @ np.diag(first) / 8
    assert np.array_equal(rotated(np.arange(8), rotation), matrix @ np.arange(8))


def test_another_seed_is_another_rotation_and_the_same_one_is_the_same() -> None:
    x = np.arange(100, dtype=np.float32)
    one, same, other = (rotated(x, Rotation.drawn(100, np.random.default_rng(seed))) for seed in (1, 1, 2))
    assert one.tobytes() == same.tobytes() != other.tobytes()


@pytest.mark.parametrize("n", [256, 1000, 10_000])
def test_one_value_alone_is_spread_over_all_of_its_window(n: int) -> None:
    rotation = Rotation.drawn(n, np.random.default_rng(n))
    x = np.zeros(n, np.float32)
    x[-1] = 1
    turned = rotated(x, rotation)
    window = min(rotation.rows, n)
    # Of normal values, the fourth power's mean is 3; of a few that have all, it would be far more.
    assert 2 < np.square(turned**2 * window).sum() / window < 4
