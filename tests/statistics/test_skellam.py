"""Skellam noise has the distribution it says, alone and in sums, and each test would notice another one."""

import hashlib
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats
from scipy.special import ive

from hedgerow.privacy import skellam as under_test
from hedgerow.privacy.skellam import LARGEST_VARIANCE, skellam, tail
from hedgerow.rng import seeded_source, system_source

N = 200_000
# A sound sampler is refused in one of a million runs.
REFUSED = 1e-6


def fit(drawn: np.ndarray, variance: float) -> float:
    """p-value of a chi-square test of single values and both tails."""
    expected = stats.skellam(variance / 2, variance / 2)
    reach = int(expected.isf(1e-4))
    values = np.arange(-reach, reach + 1)
    seen = np.bincount(np.clip(drawn, -reach - 1, reach + 1) + reach + 1, minlength=2 * reach + 3)
    outer = expected.sf(reach)
    return float(stats.chisquare(seen, np.array([outer, *expected.pmf(values), outer]) * len(drawn)).pvalue)


@pytest.mark.parametrize("variance", [1, 2, 9, 100, 2500])
@pytest.mark.parametrize("source", [seeded_source(11, "test"), system_source], ids=["seeded", "system"])
def test_every_whole_number_has_its_probability(variance, source):
    assert fit(skellam(variance, N, source), variance) > REFUSED


@pytest.mark.parametrize("variance", [6, 30, 600])
def test_another_variance_is_noticed(variance):
    for other in (variance * 2 // 3, variance * 3 // 2):
        assert fit(skellam(other, N, system_source), variance) < REFUSED


@pytest.mark.parametrize("variance", [1, 2, 9])
def test_a_gaussian_of_the_same_variance_is_noticed(variance):
    rounded = np.rint(np.random.default_rng(1).normal(0, variance**0.5, 10 * N)).astype(np.int64)
    assert fit(rounded, variance) < REFUSED


@pytest.mark.parametrize(("shares", "variance"), [(40, 1), (20, 5), (3, 300)])
def test_a_sum_of_shares_is_skellam_of_all_their_variance(shares, variance):
    total = sum(skellam(variance, N, system_source) for _ in range(shares))
    assert fit(total, shares * variance) > REFUSED
    assert fit(total, shares * variance * 1.5) < REFUSED


@pytest.mark.parametrize("variance", [10**6 + 3, LARGEST_VARIANCE])
def test_where_the_variance_is_large_it_is_nearly_the_gaussian(variance):
    drawn = skellam(variance, N, system_source)
    assert stats.kstest(drawn / variance**0.5, "norm").pvalue > REFUSED
    assert stats.kstest(1.03 * drawn / variance**0.5, "norm").pvalue < REFUSED
    for divisor in (2, 3, 7, 100):
        assert stats.chisquare(np.bincount(drawn % divisor, minlength=divisor)).pvalue > REFUSED


@pytest.mark.parametrize("variance", [1, 2, 9, 50])
def test_the_table_is_right_to_200_bits(variance):
    """Against the series of the Bessel function (DLMF 10.25.2), in 120 digits."""
    table = under_test._table(variance)
    with localcontext() as context:
        context.prec = 120
        half, factorial = Decimal(variance) / 2, [Decimal(1)]
        for m in range(1, 800):
            factorial.append(factorial[-1] * m)

        def probability(k: int) -> Decimal:
            terms = (half ** (2 * m + k) / (factorial[m] * factorial[m + k]) for m in range(400))
            return (-Decimal(variance)).exp() * sum(terms)

        exact = probability(0)
        for k, entry in enumerate(table.entries):
            exact += 2 * probability(k) if k else Decimal(0)
            assert abs(Decimal(entry) / Decimal(table.whole) - exact) < Decimal(2) ** -200
        assert Decimal(1) - exact < Decimal(2) ** -200


def test_numbers_beyond_the_table_of_63_bits_are_told_apart_by_further_bits():
    table = under_test._table(9)
    last = 2**63 - 1
    assert int(table.first_bits[-1]) == last
    assert (np.diff(table.first_bits.astype(object)) > 0).all()
    low = under_test._decide(last, table, lambda n: np.zeros(n, np.uint64))
    high = under_test._decide(last, table, lambda n: np.full(n, 2**64 - 1, np.uint64))
    assert low == len(table.first_bits) - 1, "zeros: nothing beyond"
    assert high >= 1.5 * low, "all ones for as long as it takes: the end of the table"


def test_a_number_too_close_to_call_is_decided_by_further_bits():
    table = under_test._table(9)
    for k in range(8):
        value = int(table.first_bits[k])
        assert under_test._decide(value, table, lambda n: np.zeros(n, np.uint64)) == k
        assert under_test._decide(value, table, lambda n: np.full(n, 2**64 - 1, np.uint64)) == k + 1
        assert Fraction(value, 2**63) <= Fraction(table.entries[k], table.whole) < Fraction(value + 1, 2**63)
    source = iter([np.array([int(table.first_bits[2]) << 1], np.uint64), np.zeros(1, np.uint64)])
    assert skellam(9, 1, lambda n: next(source)).tolist() == [2]


@pytest.mark.parametrize("variance", [1, 4, 16, 100, 10**4])
def test_the_tail_is_where_it_is_said_to_be_and_not_far_inside(variance):
    from_there = np.cumsum(ive(np.arange(30 * int(variance**0.5) + 60, -1, -1.0), variance))[::-1]
    for nats in (5.0, 20.0, 72.0):
        t = tail(variance, nats)
        assert from_there[t] <= np.exp(-nats)
        assert from_there[int(0.75 * t) - 2] >= np.exp(-nats)


def test_one_seed_gives_the_committed_numbers_and_the_system_never_the_same():
    drawn = {v: skellam(v, 10_000, seeded_source(3, "noise", round=2)) for v in (1, 1000, LARGEST_VARIANCE)}
    assert {v: hashlib.sha256(x.astype("<i8").tobytes()).hexdigest()[:16] for v, x in drawn.items()} == GOLDEN
    assert {v: x[:6].tolist() for v, x in drawn.items()} == FIRST
    assert not np.array_equal(*(skellam(1000, 500, system_source) for _ in range(2)))
    others = [seeded_source(3, "noise", round=3), seeded_source(4, "noise", round=2)]
    assert not np.array_equal(*(skellam(1000, 500, source) for source in others))


GOLDEN = {1: "ab8ae26c44e5fe55", 1000: "3b202baa76b8f19d", LARGEST_VARIANCE: "9840ce4ddded86d5"}
FIRST = {
    1: [1, 2, 0, -1, 1, -1],
    1000: [27, 56, 15, -22, 48, -24],
    LARGEST_VARIANCE: [7074, 14602, 3959, -5710, 12368, -6295],
}


@pytest.mark.parametrize("variance", [0, -1, 1.5, LARGEST_VARIANCE + 1, "2"])
def test_a_variance_out_of_range_is_refused(variance):
    with pytest.raises(ValueError, match="variance is"):
        skellam(variance, 1, system_source)


def test_none_are_drawn_where_none_are_asked_for():
    assert skellam(9, 0, system_source).tolist() == []
