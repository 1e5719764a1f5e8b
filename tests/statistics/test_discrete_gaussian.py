"""The sampler draws the distribution it says, and each test would notice another one."""

import math

import numpy as np
import pytest
from scipy import stats

from hedgerow.privacy import discrete_gaussian as under_test
from hedgerow.privacy.discrete_gaussian import discrete_gaussian, uniform_below
from hedgerow.rng import seeded_source, system_source

N = 200_000
# A sound sampler is refused in one of a million runs.
REFUSED = 1e-6


def density(sigma: int, reach: int) -> np.ndarray:
    x = np.arange(-reach, reach + 1)
    weight = np.exp(-(x**2) / (2 * sigma**2))
    return weight / np.exp(-(np.arange(-40 * sigma, 40 * sigma + 1) ** 2) / (2 * sigma**2)).sum()


def fit(drawn: np.ndarray, sigma: int) -> float:
    """p-value of a chi-square test of single values and both tails."""
    reach = 3 * sigma
    expected = density(sigma, reach)
    seen = np.array([(drawn == x).sum() for x in range(-reach, reach + 1)])
    tails = [(drawn < -reach).sum(), (drawn > reach).sum()]
    tail = (1 - expected.sum()) / 2
    both = np.array([*seen, *tails]), np.array([*expected, tail, tail])
    return float(stats.chisquare(both[0], both[1] / both[1].sum() * len(drawn)).pvalue)


@pytest.mark.parametrize("sigma", [1, 2, 3, 10])
@pytest.mark.parametrize("source", [seeded_source(11, "test"), system_source], ids=["seeded", "system"])
def test_every_whole_number_has_its_probability(sigma, source):
    assert fit(discrete_gaussian(sigma, N, source), sigma) > REFUSED


@pytest.mark.parametrize("sigma", [1, 2, 3, 10])
def test_a_rounded_gaussian_is_noticed_where_it_differs(sigma):
    rounded = np.rint(np.random.default_rng(1).normal(0, sigma, 10 * N)).astype(np.int64)
    if sigma < 3:
        assert fit(rounded, sigma) < REFUSED
    wider = np.rint(np.random.default_rng(1).normal(0, 1.03 * sigma, 10 * N)).astype(np.int64)
    assert fit(wider, sigma) < REFUSED


@pytest.mark.parametrize("sigma", [2**20 + 3, 2**37 + 12345, under_test.LARGEST_SIGMA])
def test_where_sigma_is_large_it_is_the_gaussian(sigma):
    drawn = discrete_gaussian(sigma, N, system_source)
    assert stats.kstest(drawn / sigma, "norm").pvalue > REFUSED
    assert stats.kstest(1.03 * drawn / sigma, "norm").pvalue < REFUSED
    # The lowest bits have no pattern: a rounded double would leave some of them zero.
    for bits in (2, 3, 7, 1000):
        seen = np.bincount(drawn % bits, minlength=bits)
        assert stats.chisquare(seen).pvalue > REFUSED


def test_uniform_below_favours_no_number():
    for bound in (3, 10, 1000):
        seen = np.bincount(uniform_below(bound, N, system_source), minlength=bound)
        assert stats.chisquare(seen).pvalue > REFUSED


def test_words_that_would_favour_small_numbers_are_drawn_again():
    source = [np.array(drawn, np.uint64) for drawn in ([2**64 - 1, 5], [2**64 - 1], [7])]
    for drawn in source:
        drawn.flags.writeable = False  # as the operating system's are
    given = iter(source)
    assert uniform_below(3, 2, lambda n: next(given)).tolist() == [1, 2]


def test_a_number_too_close_to_call_is_decided_by_further_bits():
    """exp(-ln 2) is one half: 63 bits of one half may lie on either side of it."""
    half = 2**62
    ln2 = (6931471805599453094172321214581765680755001343602552541206800094, 10**64)
    just_above = (ln2[0] - 10**30, ln2[1])  # a smaller exponent: a probability above one half by 5e-35
    assert under_test._below(half, just_above, lambda n: np.zeros(n, np.uint64))
    assert not under_test._below(half, just_above, lambda n: np.full(n, 2**64 - 1, np.uint64))
    just_below = (ln2[0] + 10**30, ln2[1])
    assert not under_test._below(half, just_below, lambda n: np.zeros(n, np.uint64))
    assert under_test._below(half - 1, just_below, lambda n: np.zeros(n, np.uint64))


@pytest.mark.parametrize("sigma", [3, 1000, 2**37 + 12345])
def test_numbers_that_are_all_too_close_to_call_are_the_same(monkeypatch, sigma):
    quick = discrete_gaussian(sigma, 1500, seeded_source(5, "test"))
    monkeypatch.setattr(under_test, "_BAND", 2.0)
    assert np.array_equal(discrete_gaussian(sigma, 1500, seeded_source(5, "test")), quick)


def test_a_block_too_close_to_call_is_decided_by_further_bits():
    table, ends = under_test._thresholds()
    for k in range(6):
        low = under_test._block(int(table[k]), ends, lambda n: np.zeros(n, np.uint64))
        high = under_test._block(int(table[k]), ends, lambda n: np.full(n, 2**64 - 1, np.uint64))
        assert (low, high) == (k, k + 1)
        for source, block in (
            (lambda n: np.zeros(n, np.uint64), k),
            (lambda n: np.full(n, 2**64 - 1, np.uint64), k + 1),
        ):
            assert under_test._blocks(table[k : k + 1], source).tolist() == [block]
    weight = [math.exp(-k * k / 2) for k in range(40)]
    assert np.allclose(table[:8] / 2.0**63, np.cumsum(weight)[:8] / sum(weight))


def test_one_seed_gives_one_noise_and_the_system_never_the_same():
    assert np.array_equal(
        *(discrete_gaussian(1000, 500, seeded_source(3, "noise", round=2)) for _ in range(2))
    )
    assert not np.array_equal(*(discrete_gaussian(1000, 500, system_source) for _ in range(2)))
    others = [seeded_source(3, "noise", round=3), seeded_source(4, "noise", round=2)]
    assert not np.array_equal(*(discrete_gaussian(1000, 500, source) for source in others))


@pytest.mark.parametrize("sigma", [0, -1, 1.5, 2**52 + 1, math.nan, "2"])
def test_sigma_out_of_range_is_refused(sigma):
    with pytest.raises(ValueError, match="sigma is"):
        discrete_gaussian(sigma, 1, system_source)


def test_fewer_than_no_numbers_are_refused():
    with pytest.raises(ValueError, match="n is -1"):
        discrete_gaussian(3, -1, system_source)
