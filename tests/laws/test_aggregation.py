"""The mean does not depend on order, is as exact as it says, and refuses what it cannot hold."""

import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hedgerow.strategies.aggregates.mean import SUM_FRACTION_BITS, FixedPointMean, mean
from hedgerow.types import PayloadError

values = hnp.arrays(np.float32, 7, elements=st.floats(-50, 50, width=32))
cohorts = st.lists(st.tuples(values, st.integers(1, 1000)), min_size=1, max_size=20)


@given(cohorts, st.randoms(use_true_random=False))
def test_the_order_of_arrival_never_shows(cohort, random):
    first = FixedPointMean(7, len(cohort))
    for vector, weight in cohort:
        first.add("a", vector, weight)
    shuffled = list(cohort)
    random.shuffle(shuffled)
    second = FixedPointMean(7, len(cohort))
    for vector, weight in shuffled:
        second.add("a", vector, weight)
    assert first.result().tobytes() == second.result().tobytes()


@given(cohorts)
def test_it_is_the_weighted_mean_within_its_stated_error(cohort):
    total = mean().start(7, len(cohort))
    for vector, weight in cohort:
        total.add("a", vector, weight)
    weights = np.array([w for _, w in cohort], np.float64)
    exact = np.average([v.astype(np.float64) for v, _ in cohort], axis=0, weights=weights)
    # Half a step a client, and the rounding of the result to float32.
    allowed = len(cohort) * 2.0 ** -(SUM_FRACTION_BITS + 1) / weights.sum() + np.abs(exact) * 2.0**-23
    assert (np.abs(total.result() - exact) <= allowed).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_what_cannot_be_held_is_refused_and_changes_nothing(bad):
    total = FixedPointMean(2, 3)
    total.add("a", np.array([1, 2], np.float32), 1)
    with pytest.raises(PayloadError):
        total.add("a", np.array([0, bad], np.float32), 1)
    assert total.result().tolist() == [1, 2]
    assert total.weight == 1


@given(st.integers(1, 1000))
def test_a_full_cohort_at_the_limit_does_not_overflow(clients):
    largest = np.float32(2.0**26 / clients * (1 - 1e-6))
    total = FixedPointMean(1, clients)
    for _ in range(clients):
        total.add("a", np.array([largest]), 1)
    assert total.result()[0] == pytest.approx(largest, rel=1e-6)
    assert -total.result()[0] < 0


def test_there_is_no_mean_of_nothing():
    with pytest.raises(ValueError, match="total weight is 0"):
        FixedPointMean(2, 3).result()


@given(cohorts, st.integers(0, 20), st.randoms(use_true_random=False))
def test_sums_made_apart_and_merged_are_the_sum_made_in_one_place(cohort, parts, random):
    whole = FixedPointMean(7, len(cohort))
    for vector, weight in cohort:
        whole.add("a", vector, weight)
    shares = [FixedPointMean(7, len(cohort)) for _ in range(parts + 1)]
    for vector, weight in cohort:
        random.choice(shares).add("a", vector, weight)
    random.shuffle(shares)
    total, *others = (pickle.loads(pickle.dumps(share)) for share in shares)
    for other in others:
        total.merge(other)
    assert total.result().tobytes() == whole.result().tobytes()
    assert total.weight == whole.weight


@pytest.mark.parametrize("other", [FixedPointMean(3, 5), FixedPointMean(2, 4)])
def test_only_means_of_one_cohort_and_model_are_merged(other):
    with pytest.raises(ValueError, match="must be of the same cohort and model"):
        FixedPointMean(2, 5).merge(other)


@given(
    hnp.arrays(np.float32, 9, elements=st.floats(-(2.0**24), 2.0**24, width=32)),
    st.integers(1, 2**22).map(lambda n: n / 2**20),
)
def test_each_product_is_rounded_to_the_nearest_multiple_ties_to_even(vector, weight):
    """Also where values are so large that a faster way of rounding would not do."""
    total = FixedPointMean(9, 1)
    try:
        total.add("a", vector, weight)
    except PayloadError:
        assert np.abs(vector.astype(np.float64) * weight).max() > 2.0**26
        return
    exact = [round(Fraction(float(np.float64(v) * weight)) * 2**SUM_FRACTION_BITS) for v in vector]
    assert total.fixed.tolist() == exact


def test_a_long_vector_is_added_block_by_block():
    random = np.random.default_rng(1)
    total, pieces = FixedPointMean(100_003, 2), []
    for weight in (3.0, 5.0):
        values = random.normal(size=100_003).astype(np.float32)
        total.add("a", values, weight)
        pieces.append([round(float(np.float64(v) * weight) * 2**SUM_FRACTION_BITS) for v in values])
    assert total.fixed.tolist() == [a + b for a, b in zip(*pieces, strict=True)]
