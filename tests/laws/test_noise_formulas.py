"""Bounds, variances and norms are those of their papers, computed another way for drawn numbers."""

import math
import random
from collections import Counter
from fractions import Fraction
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest

from hedgerow.privacy import accounting, bands, skellam
from hedgerow.privacy.accounting import counted_delta, skellam_divergence
from hedgerow.privacy.adjacency import ADJACENCIES, sensitivity, told
from hedgerow.privacy.events import Cyclic, Gaussian, PoissonSampled, Skellam, mechanism
from hedgerow.strategies import cyclic, dp_fedavg, poisson
from hedgerow.strategies.norms import clipped, l2_norm, quick_norm
from hedgerow.strategies.release import UNIT, Noise, NoisyAggregation, ServerClip
from hedgerow.strategies.transforms.client_noise import rounded_norm, skellam_event
from hedgerow.strategies.transforms.clipping import LARGEST_NORM, SMALLEST_NORM, adaptive_clip

OWN = random.Random(9)
ORDERS = (2, 3, 4, 7, 12, 40)


def power(low: float, high: float) -> float:
    return 10 ** OWN.uniform(low, high)


@pytest.mark.parametrize("_", range(20))
def test_a_skellam_divergence_is_that_of_the_theorem(_):
    """Agarwal, Kairouz, Liu 2021, corollary 3.6, in fractions."""
    event, order = Skellam(OWN.randrange(1, 5000), power(-1, 3), power(-1, 4)), OWN.choice(ORDERS)
    l1, l2, v = Fraction(event.l1), Fraction(event.l2) ** 2, Fraction(event.variance)
    more = min(((2 * order - 1) * l2 + 6 * l1) / (4 * v * v), 3 * l1 / (2 * v))
    assert skellam_divergence(event, order) == pytest.approx(float(order * l2 / (2 * v) + more), rel=1e-12)


@pytest.mark.parametrize("rate", [1e-4, 0.02, 0.3, 0.9])
@pytest.mark.parametrize("noise", [0.7, 2.0, 9.0])
def test_a_sampled_gaussians_divergence_is_the_sum_over_binomials(rate, noise):
    """Mironov, Talwar, Zhang 2019, arXiv:1908.10530, section 3.3; where data are replaced, by convexity."""
    found = {
        adjacency: accounting._divergence(PoissonSampled(rate, Gaussian(noise)), ORDERS, adjacency)
        for adjacency in ADJACENCIES
    }
    with mpmath.workdps(60):
        q, z = mpmath.mpf(rate), mpmath.mpf(noise)
        for place, a in enumerate(ORDERS):
            terms = (
                mpmath.binomial(a, k) * (1 - q) ** (a - k) * q**k * mpmath.exp((k * k - k) / (2 * z * z))
                for k in range(a + 1)
            )
            known = float(mpmath.log(mpmath.fsum(terms)) / (a - 1))
            assert found["zero_out"][place] == pytest.approx(known, rel=1e-5, abs=1e-13)
            mixed = 1 - q + q * mpmath.exp((a - 1) * a / (2 * (z / 2) ** 2))
            assert found["replace"][place] == pytest.approx(float(mpmath.log(mixed) / (a - 1)), rel=1e-9)


@pytest.mark.parametrize("adjacency", ADJACENCIES)
def test_without_chance_a_divergence_is_the_orders_over_twice_the_variance(adjacency):
    for noise in (0.3, 2.0, 40.0):
        known = [a * sensitivity(adjacency) ** 2 / (2 * noise**2) for a in ORDERS]
        assert accounting._divergence(Gaussian(noise), ORDERS, adjacency) == pytest.approx(known)
    one, twice = Skellam(77, 3.0, 5.0), Skellam(77, 6.0, 10.0)
    known = [skellam_divergence(one if adjacency == "zero_out" else twice, a) for a in ORDERS]
    assert accounting._divergence(one, ORDERS, adjacency) == pytest.approx(known)
    assert (sensitivity("zero_out"), sensitivity("replace")) == (1.0, 2.0)
    assert told(adjacency, "cat").count("one cat") == 1


def test_losses_are_used_up_to_the_largest_epsilon_and_in_steps_that_are_a_part_of_it(monkeypatch):
    counts, skellams = {Gaussian(0.9): 2}, {Skellam(9, 1.0, 1.0): 1}
    most = accounting._renyi(counts, 1e-5, "replace")
    for largest, parts, step in (
        (most, 1000, most / 1000), (most, 10**9, accounting.INTERVAL), (math.nextafter(most, 0), 1000, None),
    ):  # fmt: skip
        monkeypatch.setattr(accounting, "LARGEST", largest)
        monkeypatch.setattr(accounting, "PARTS", parts)
        assert accounting._interval(counts, 1e-5, "replace") == step
    assert accounting._interval({**counts, **skellams}, 1e-5, "replace") is None


def test_where_cancellation_leaves_nothing_of_a_divergence_it_is_that_without_chance(monkeypatch):
    class Accountant:
        rdp = (0.0, -1e-24, 0.25, 3.0)

        def __init__(self, orders):
            assert orders == (2, 3, 4, 5)

        def compose(self, event):
            assert event == ("sampled", 0.1, ("gaussian", 2.0))

    made = SimpleNamespace(
        rdp=SimpleNamespace(RdpAccountant=Accountant),
        PoissonSampledDpEvent=lambda rate, event: ("sampled", rate, event),
        GaussianDpEvent=lambda noise: ("gaussian", noise),
    )
    monkeypatch.setattr(accounting, "_dp_accounting", lambda: made)
    accounting._divergence.cache_clear()
    found = accounting._divergence(PoissonSampled(0.1, Gaussian(2.0)), (2, 3, 4, 5), "zero_out")
    accounting._divergence.cache_clear()
    assert found.tolist() == [2 / 8, 3 / 8, 0.25, 3.0]


def test_what_an_epsilon_is_reached_with_is_the_least_delta_of_all_orders():
    """arXiv:2004.00010, proposition 12; and half of what is left of the total variation, arXiv:1004.2995."""
    event, count = Skellam(50, 4.0, 16.0), 3
    for given in (1.0, 5.0, 9.0, 20.0):
        found = {
            a: (a - 1) * (count * skellam_divergence(event, a) - given + math.log1p(-1 / a)) - math.log(a)
            for a in accounting._MORE_ORDERS
        }
        half = 0.5 * math.log1p(-math.exp(-count * skellam_divergence(event, 2)))
        assert counted_delta(event, count, given) == pytest.approx(math.exp(min(half, *found.values())))


@pytest.mark.parametrize("seed", range(12))
def test_a_cyclic_event_counts_for_the_client_that_is_in_most(seed):
    own = random.Random(seed)
    groups, numbers = own.randrange(1, 6), [own.randrange(15) for _ in range(own.randrange(1, 30))]
    again = len(numbers) - len(set(numbers))
    most = max(sum(n % groups == turn for n in set(numbers)) for turn in range(groups))
    counted = accounting._counted([*(Cyclic(Gaussian(2.0), groups, n) for n in numbers), Gaussian(1.0)])
    assert counted == Counter({Gaussian(2.0): most + again, Gaussian(1.0): 1})
    assert mechanism(Cyclic(Skellam(9, 1.0, 1.0), groups, 1)) == Skellam(9, 1.0, 1.0)
    assert mechanism(PoissonSampled(0.1, Gaussian(3.0))) == mechanism(Gaussian(3.0)) == Gaussian(3.0)


def matrix(column: np.ndarray, rounds: int) -> np.ndarray:
    found = np.zeros((rounds, rounds))
    for j, band in enumerate(column[:rounds]):
        found += band * np.eye(rounds, k=-j)
    return found


@pytest.mark.parametrize("number", [1, 2, 4, 7])
@pytest.mark.parametrize("rounds", [1, 3, 7, 20])
def test_the_error_of_bands_its_slope_and_the_inverse_are_those_of_matrices(number, rounds):
    own = np.random.default_rng(number * 100 + rounds)
    column = np.array([own.uniform(0.5, 2), *own.normal(scale=0.4, size=number - 1)])
    inverse = np.linalg.inv(matrix(column, rounds))
    np.testing.assert_allclose(bands._inverse(column, rounds), inverse[:, 0], rtol=1e-8, atol=1e-12)

    def error(free: np.ndarray, first: float = 1.0) -> float:
        whole = np.array([first, *free])
        noise = np.tril(np.ones((rounds, rounds))) @ np.linalg.inv(matrix(whole, rounds))
        return float(np.square(noise).sum() * np.square(whole).sum() / rounds)

    assert bands.prefix_error(column, rounds) == pytest.approx(error(column[1:], column[0]), rel=1e-9)
    free = column[1:rounds]  # a search has no more bands than rounds
    value, slope = bands._loss(free, rounds)
    assert value == pytest.approx(math.log(error(free) * rounds), rel=1e-9, abs=1e-12)
    steps = np.eye(len(free)) * 1e-5
    known = [(math.log(error(free + s)) - math.log(error(free - s))) / 2e-5 for s in steps]
    np.testing.assert_allclose(slope, known, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("seed", range(15))
def test_a_tail_is_the_first_number_whose_bound_is_low_enough_and_one_more(seed):
    own = random.Random(seed)
    variance, nats = int(10 ** own.uniform(0, 8)), 10 ** own.uniform(-2, 2.5)
    with mpmath.workdps(40):

        def bound(t: int) -> mpmath.mpf:  # the minimum over s of s t - v (cosh s - 1)
            v = mpmath.mpf(variance)
            return t * mpmath.asinh(t / v) - v * (mpmath.sqrt(1 + (t / v) ** 2) - 1)

        found = skellam.tail(variance, nats) - 1
        assert bound(found) >= nats * (1 - 1e-9)
        assert bound(found - 1) < nats


@pytest.mark.parametrize("_", range(20))
def test_norms_and_variances_of_whole_numbers_are_those_of_the_papers(_):
    norm, n = power(-1, 4), OWN.choice((0, 1, 5, 900, 10**6))
    likely = math.sqrt(norm**2 + n / 4 + math.sqrt(0.5 * 2 * 0.5 * 2) * norm + 0.5 * math.sqrt(n))
    assert rounded_norm(norm, n) == pytest.approx(min(likely, norm + math.sqrt(n)))
    multiplier, honest = power(-1, 1.5), OWN.randrange(1, 99)
    event, l2 = skellam_event(multiplier, norm, honest, n), rounded_norm(norm, n)
    assert event.variance % honest == 0
    assert event.variance - honest < (multiplier * l2) ** 2 * (1 + 1e-12) <= event.variance * (1 + 1e-9)
    assert (event.l2, event.l1) == (l2, pytest.approx(min(l2**2, math.sqrt(max(n, 1)) * l2)))
    upper = skellam_event(multiplier, norm, honest, None)
    assert upper == Skellam(max(1, int((multiplier * norm) ** 2)), norm, norm**2)


def test_a_quick_norm_is_the_norm_to_six_digits_wherever_float32_ends():
    own = np.random.default_rng(2)
    for n in (0, 1, 5, 8191, 8192, 8193, 16_384, 20_000):
        for scale in (1e-30, 1e-18, 1e-15, 1e-14, 1.0, 1e10, 1e19, 1e25):
            x = (own.normal(size=n) * scale).astype(np.float32)
            assert quick_norm(x) == pytest.approx(l2_norm(x), rel=1e-5)
    for kind in (np.int8, np.int16, np.float64):
        whole = own.integers(-100, 100, 9000).astype(kind)
        assert quick_norm(whole) == l2_norm(whole)
    few = np.full(4, 4.9e-16, np.float32)  # a sum of squares of just less than 1e-30, and of just more
    assert quick_norm(few) == l2_norm(few)
    assert quick_norm(few * np.float32(1.5)) == pytest.approx(l2_norm(few * np.float32(1.5)), rel=1e-6)


def test_a_clip_leaves_what_is_within_as_it_is_and_scales_all_else_to_the_bound():
    own = np.random.default_rng(3)
    for n in (1, 3, 500):
        x = own.normal(size=n).astype(np.float32)
        length = l2_norm(x)
        assert clipped(x, length) is x
        for bound in (np.nextafter(length, 0), 0.5 * length, 1e-3):
            found = clipped(x, float(bound))
            assert bound * (1 - 1e-6) <= l2_norm(found) <= bound
            np.testing.assert_allclose(found, x * (bound / length), rtol=1e-6)


@pytest.mark.parametrize("_", range(10))
def test_the_noise_covers_the_norm_and_what_rounding_adds_to_it(_):
    multiplier, norm, n = power(-1, 1), power(-9, 2), OWN.randrange(10**6)
    column = (1.0, *(OWN.random() for _ in range(OWN.randrange(4))))
    length, more = math.sqrt(sum(b * b for b in column)), math.sqrt(len(column)) if len(column) > 1 else 0
    known = multiplier * length * (norm * (1 + 1e-9) * 2**36 + math.sqrt(n) * (1 + more))
    assert UNIT == 2.0**-36
    assert 0 <= Noise(multiplier, column).sigma(norm, n) - known < 1 + 1e-9 * known


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3])
def test_an_answer_has_its_share_of_the_squared_sensitivity(share):
    release = NoisyAggregation(ServerClip(lambda state: 2.5, share=share), Noise(1.5), 10.0, 40)
    half = release._half_answer(2.5)
    assert half**2 == pytest.approx(share * (2.5**2 + half**2))
    assert release.sensitivity(2.5) == pytest.approx(2.5 / math.sqrt(1 - share))
    assert release.largest_norm == pytest.approx(2**26 / 40 * math.sqrt(1 - share))
    assert release.extra == (share > 0)
    for length, sign in ((1.0, 1), (9.0, -1)):
        told = release.contribution(np.array([length, 0], np.float32), 2.5)
        assert told.tolist() == pytest.approx([min(length, 2.5), 0, *([sign * half] if share else [])])
    assert release.norm({}) == 2.5 != NoisyAggregation(release.server_clip, Noise(1.0), 1.0, 2**30).norm({})


@pytest.mark.parametrize("within", [0.0, 0.4, 0.5, 1.0])
def test_an_adaptive_norm_goes_by_the_exponential_of_the_distance_from_its_quantile(within):
    server = adaptive_clip(0.5, 0.4, 0.3).protection.server_clip
    for norm in (0.5, 3.0, 1e-5, 1e4):
        after = server.update({"clip_norm": np.array([norm]), "other": 1}, within)
        known = min(LARGEST_NORM, max(SMALLEST_NORM, norm * math.exp(-0.3 * (within - 0.4))))
        assert (server.norm(after), after["other"]) == (pytest.approx(known, rel=1e-12), 1)


def test_a_round_costs_what_its_sampling_makes_of_the_noise():
    noise, skellam_noise = Noise(2.0), Noise(2.0, min_honest=3, skellam=lambda n: Skellam(n or 9, 1.0, 1.0))
    assert noise.event(poisson(5, population=20), 3, 7) == PoissonSampled(0.25, Gaussian(2.0))
    assert noise.event(poisson(20, population=20), 3, 7) == Gaussian(2.0)
    assert noise.event(cyclic(5, population=20), 3, 7) == Cyclic(Gaussian(2.0), 4, 3)
    for n, variance in ((7, 7), (None, 9)):
        event = skellam_noise.event(cyclic(5, population=20), 3, n)
        assert event == Cyclic(Skellam(variance, 1.0, 1.0), 4, 3)
    assert dp_fedavg(0.5, 1.0, sampling=poisson(2, population=9)).release.expected == 2.0
