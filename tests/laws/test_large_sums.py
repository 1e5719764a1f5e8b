"""Sums of large weighted values: exact, in any order and in any parts; and what is too large is named."""

import pickle
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hedgerow.strategies.aggregates.mean import SUM_FRACTION_BITS, FixedPointMean
from hedgerow.strategies.norms import quick_norm
from hedgerow.types import PayloadError

N = 5
sizes = st.sampled_from([2.0**-30, 1.0, 2.0**20, 2.0**27, 2.0**38])
weights = st.one_of(st.sampled_from([1, 1_000_000, 2**20]), st.integers(1, 2**21).map(lambda n: n / 2**20))
shapes = hnp.arrays(np.float32, N, elements=st.floats(-1, 1, width=32))
clients = st.tuples(shapes, sizes, weights).map(lambda c: (c[0] * np.float32(c[1]), c[2]))
cohorts = st.lists(clients, min_size=1, max_size=12)


def summed(cohort, size=0):
    total = FixedPointMean(N, max(size, len(cohort)))
    for values, weight in cohort:
        total.add("a", values, weight)
    return total


def exactly(cohort):
    """The fixed-point sum, and the total weight, as rational numbers."""
    unit = Fraction(1, 2**SUM_FRACTION_BITS)
    total, weight_of_all = [Fraction(0)] * N, Fraction(0)
    for values, weight in cohort:
        products = (float(np.float64(value) * weight) for value in values)
        total = [a + round(Fraction(p) / unit) * unit for a, p in zip(total, products, strict=True)]
        weight_of_all += Fraction(weight)
    return total, weight_of_all


def largest(cohort):
    return max(float(np.abs(values).max()) * weight for values, weight in cohort)


@given(cohorts, st.integers(0, 2**22))
def test_the_mean_is_that_of_rational_arithmetic_to_the_last_unit(cohort, size):
    """Also where large values of two clients leave a small sum."""
    total, weight = exactly(cohort)
    found = summed(cohort, size).result()
    for value, sum_ in zip(found, total, strict=True):
        exact = sum_ / weight
        assert abs(Fraction(float(value)) - exact) <= Fraction(float(np.spacing(abs(np.float32(exact)))))


@given(cohorts, st.sampled_from([1, 40]), st.sampled_from([0.999, 1.0, 1.001]))
def test_that_a_norm_is_known_changes_nothing_of_a_sum(cohort, size, off):
    asked, told = (FixedPointMean(N, max(size, len(cohort))) for _ in range(2))
    for values, weight in cohort:
        asked.add("a", values, weight)
        told.add("a", values, weight, norm=off * quick_norm(values))
    assert (told.fixed == asked.fixed).all()
    assert told.result().tobytes() == asked.result().tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_what_cannot_be_held_is_refused_also_where_its_norm_is_known(bad):
    values = np.array([1, bad, 1, 1, 1], np.float32)
    total = FixedPointMean(N, 3)
    for refused in (total.check, partial(total.add, "a")):
        with pytest.raises(PayloadError, match=r"finite|largest weighted value"):
            refused(values, 1.0, norm=quick_norm(values))
    assert total.weight == 0


@given(cohorts, st.integers(1, 5), st.randoms(use_true_random=False))
def test_order_and_parts_never_show(cohort, parts, random):
    """Some parts have a second word, and some have not."""
    whole = summed(cohort)
    shares = [FixedPointMean(N, len(cohort)) for _ in range(parts)]
    for values, weight in random.sample(cohort, len(cohort)):
        random.choice(shares).add("a", values, weight)
    total, *others = (pickle.loads(pickle.dumps(share)) for share in random.sample(shares, parts))
    for other in others:
        total.merge(other)
    assert total.result().tobytes() == whole.result().tobytes()
    assert total.fixed.tolist() == whole.fixed.tolist()
    assert total.weight == whole.weight


@given(cohorts, clients, st.randoms(use_true_random=False))
def test_a_large_client_that_another_takes_off_again_leaves_the_bits_of_one_word(cohort, client, random):
    values, weight = client
    among = random.sample([*cohort, (values, weight), (-values, weight)], len(cohort) + 2)
    zeros = [(np.zeros(N, np.float32), weight)] * 2
    assert summed(among).result().tobytes() == summed([*cohort, *zeros]).result().tobytes()


@given(cohorts)
def test_a_fixed_sum_is_exact_and_stops_at_what_one_word_holds(cohort):
    total, _ = exactly(cohort)
    expected = [max(-(2**62), min(2**62, int(value * 2**SUM_FRACTION_BITS))) for value in total]
    assert summed(cohort).fixed.tolist() == expected


@pytest.mark.parametrize("count", [1, 3, 1000])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_full_cohort_at_the_limit_of_two_words_does_not_overflow(count, sign):
    value = np.array([sign * 2.0**60], np.float32)
    total = FixedPointMean(1, count)
    for _ in range(count):
        total.add("a", value, 1)
    assert total.result().tolist() == value.tolist()


@pytest.mark.parametrize("size", [2**20, 2**22, 10**9])
def test_the_largest_cohorts_hold_what_they_say(size):
    most = 2.0**60 * min(1, 2**20 / size)
    total = FixedPointMean(1, size)
    part = FixedPointMean(1, size)
    part.add("a", np.array([most], np.float32) * np.float32(1 - 2**-20), 1)
    # As many clients as there may be, by doubling.
    for _ in range(size.bit_length() - 1):
        part.merge(pickle.loads(pickle.dumps(part)))
    total.merge(part)
    assert total.result()[0] == pytest.approx(most, rel=1e-5)
    with pytest.raises(PayloadError, match="largest weighted value"):
        total.add("a", np.array([most * 1.001], np.float32), 1)


def test_what_is_too_large_is_named_with_its_value_and_the_remedy_and_changes_nothing():
    total = FixedPointMean(3, 3)
    total.add("a", np.array([1, 2, 3], np.float32), 1)
    with pytest.raises(
        PayloadError,
        match=r"largest weighted value is 4e\+18, -2e\+18 with a weight of 2; at most 1.15e\+18 is allowed:"
        r" scale inputs and targets to about 1, or lower the largest weight",
    ) as caught:
        total.add("a", np.array([1, -2e18, 0], np.float32), 2)
    assert caught.value.position == 1
    assert total.result().tolist() == [1, 2, 3]
    assert total.weight == 1


def test_a_second_word_is_there_only_from_the_first_large_client_on():
    total, long = FixedPointMean(100_003, 2), np.linspace(-1, 1, 100_003, dtype=np.float32)
    total.add("a", long, 1)
    one = len(pickle.dumps(total))
    total.add("a", long * np.float32(2.0**25), 2.5)
    assert one < 8.1 * len(long)
    assert len(pickle.dumps(total)) > 1.9 * one
    assert np.allclose(total.result(), long.astype(np.float64) * (1 + 2.5 * 2.0**25) / 3.5, rtol=1e-7)
