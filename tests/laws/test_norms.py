"""A norm has the bits of a plain loop, whatever numpy's sum does."""

import numpy as np
import pytest

from hedgerow.strategies.norms import BLOCK, clipped, l2_norm, square_sum


def by_hand(values: np.ndarray) -> float:
    """The order of adding as any language can do it."""
    places = [0.0] * BLOCK
    for position, value in enumerate(values.tolist()):
        places[position % BLOCK] += value * value
    total = 0.0
    for place in places:
        total += place
    return total


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 129, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 5])
def test_squares_are_added_in_the_order_that_is_stated(n) -> None:
    random = np.random.default_rng(n)
    for scale in (1e-20, 1.0, 1e15):
        values = (random.normal(size=n) * scale * 10.0 ** random.integers(-6, 6, n)).astype(np.float32)
        assert square_sum(values) == by_hand(values)
        assert square_sum(values[::-1][::-1]) == by_hand(values)
        assert l2_norm(values) == np.sqrt(by_hand(values))


def test_numpys_own_order_would_show() -> None:
    values = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    assert square_sum(values) != np.square(values, dtype=np.float64).sum()
    assert square_sum(values) == pytest.approx(np.square(values, dtype=np.float64).sum(), rel=1e-12)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_has_no_finite_norm(wrong) -> None:
    values = np.ones(BLOCK + 3, np.float32)
    values[-1] = wrong
    assert not np.isfinite(l2_norm(values))


def test_whole_numbers_are_counted_exactly() -> None:
    assert square_sum(np.full(10_000, 2**20, np.int32)) == 10_000 * 2.0**40


def test_a_clipped_vector_is_within_its_bound_by_the_plain_loop_too() -> None:
    random = np.random.default_rng(3)
    for bound in (1e-3, 0.1, 1.0):
        values = random.normal(size=BLOCK + 77).astype(np.float32)
        assert by_hand(clipped(values, bound)) <= bound**2 * (1 + 1e-15)
        assert l2_norm(clipped(values, bound)) <= bound
