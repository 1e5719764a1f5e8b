"""Laws of drawn values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hedgerow.experiments.config.ranges import Range, choice, draw, draws, log_uniform, parse_range, uniform
from hedgerow.experiments.report.intervals import interval, quantile

SHARE = st.floats(0.0, 1.0, exclude_max=True)
BOUNDS = st.tuples(st.integers(-50, 50), st.integers(1, 100)).map(lambda p: (p[0], p[0] + p[1]))
FRACTIONS = st.tuples(st.floats(1e-6, 1e3), st.floats(1.1, 1e4)).map(lambda p: (p[0], p[0] * p[1]))


@given(BOUNDS, SHARE)
def test_a_whole_number_between_whole_bounds(bounds: tuple[int, int], share: float) -> None:
    value = uniform(*bounds).at(share)
    assert isinstance(value, int)
    assert bounds[0] <= value <= bounds[1]


@given(FRACTIONS, SHARE, st.booleans())
def test_a_number_of_four_digits_between_fractions(
    bounds: tuple[float, float], share: float, log: bool
) -> None:
    low, high = bounds
    value = (log_uniform if log else uniform)(low, high).at(share)
    assert low <= value <= high
    assert value in (low, high, float(f"{value:.4g}"))


@given(FRACTIONS, SHARE, SHARE)
def test_a_larger_share_is_no_smaller_value(bounds: tuple[float, float], one: float, other: float) -> None:
    made = log_uniform(*bounds)
    assert made.at(min(one, other)) <= made.at(max(one, other))


@given(st.integers(0, 2**63 - 1), st.integers(1, 20), st.integers(0, 20))
def test_more_draws_and_other_ranges_keep_those_that_are_there(seed: int, few: int, more: int) -> None:
    ranges = {"a": uniform(0, 10**9), "b": log_uniform(0.1, 1e9)}
    first = draws(ranges, few, seed)
    assert draws(ranges, few + more, seed)[:few] == first
    alone = [draw({"a": ranges["a"]}, number, seed)["a"] for number in range(few)]
    assert [values["a"] for values in first] == alone


@pytest.mark.parametrize(
    ("made", "cdf"),
    [
        (uniform(2.0, 5.0), lambda x: (x - 2) / 3),
        (log_uniform(0.01, 10.0), lambda x: np.log(x / 0.01) / math.log(1000)),
    ],
)
def test_draws_are_spread_as_their_name_says(made: Range, cdf: object) -> None:
    values = [draw({"key": made}, number, seed=3)["key"] for number in range(4000)]
    assert stats.kstest(values, cdf).pvalue > 0.01
    # A test that would pass anything shows nothing: another spread of the same range is told.
    other = stats.kstest([values[k] ** 1.1 / made.high**0.1 for k in range(4000)], cdf)
    assert other.pvalue < 1e-4


def test_each_value_of_a_choice_and_each_whole_number_is_as_likely() -> None:
    for made, count in ((choice("a", "b", "c"), 3), (uniform(1, 5), 5)):
        values = [draw({"key": made}, number, seed=1)["key"] for number in range(3000)]
        _, counts = np.unique(values, return_counts=True)
        assert len(counts) == count
        assert stats.chisquare(counts).pvalue > 0.01


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("uniform(3, 1)", "high is 1; it must be above low, which is 3"),
        ("log_uniform(0, 1)", "low is 0; it must be a number above 0"),
        ("choice(1)", "a choice has two or more values, no two of them equal"),
        ("choice(1, 1)", "a choice has two or more values, no two of them equal"),
        ("uniform(0)", "the arguments are: low, high"),
        ("unifrom(0, 1)", "Did you mean 'uniform'?"),
        ("uniform('a', 1)", "it must be a finite number"),
    ],
)
def test_a_range_that_cannot_be_drawn_from_says_why(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_range(text)
    assert told in str(caught.value)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 29, 30, 199])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_the_t_quantile_is_students(freedom: int, level: float) -> None:
    assert quantile(level, freedom) == pytest.approx(stats.t.ppf((1 + level) / 2, freedom), rel=1e-9)


def test_an_interval_holds_the_mean_as_often_as_it_says_and_one_value_has_none() -> None:
    values = np.random.default_rng(5).normal(size=(4000, 4))
    bounds = [interval(row.tolist()) for row in values]
    held = sum(low <= 0 <= high for low, high in (b for b in bounds if b is not None))
    assert stats.binomtest(held, 4000, 0.95).pvalue > 0.01
    assert interval([0.7]) is None
