"""Steps of clients' noise and of a release at the very bounds of what they take, send and ask for."""

import math

import numpy as np
import pytest

from hedgerow import rng
from hedgerow.privacy.accounting import counted_delta
from hedgerow.privacy.events import Gaussian
from hedgerow.privacy.skellam import LARGEST_VARIANCE
from hedgerow.strategies import cyclic, dp_fedavg, norms, uniform
from hedgerow.strategies.calibration import calibrated
from hedgerow.strategies.norms import clipped, quick_norm
from hedgerow.strategies.release import Noise, NoisyAggregation, ServerClip
from hedgerow.strategies.transforms import client_noise
from hedgerow.strategies.transforms.client_noise import (
    distributed_noise,
    randomized_round,
    rounded_norm,
    skellam_event,
    skellam_noise,
    unit_for,
)
from hedgerow.types import Client, Layout, Payload, RoundContext


def sent(step, values, seed=1, seeded=True):
    context = RoundContext(seed, 1, Client("ann"), Layout.flat(len(values)), 20, seeded)
    return step.encode(Payload({"values": np.asarray(values)}), {}, context)[0].values


def test_a_draw_as_long_as_the_norm_allows_is_sent_and_a_longer_one_drawn_again():
    """Four values of norm 1 may have a norm of exactly 2."""
    assert rounded_norm(1.0, 4) == 2.0
    step, halves, longest = randomized_round(1.0, 1.0), np.full(4, 0.5, np.float32), 0
    for seed in range(40):
        stream = rng.generator(seed, "lattice", round=1, client="ann")
        known = np.floor(halves + stream.random(4))
        while (known**2).sum() > 4:
            known = np.floor(halves + stream.random(4))
        assert sent(step, halves, seed).tolist() == known.tolist()
        longest += known.sum() == 4
    assert longest > 0
    narrow, redrawn = randomized_round(2.0, 1.0), 0
    for seed in range(40):
        stream, bound = rng.generator(seed, "lattice", round=1, client="ann"), rounded_norm(0.5, 4) ** 2
        draws = 0
        while draws == 0 or (known**2).sum() > bound:
            known, draws = np.floor(halves / 2 + stream.random(4)), draws + 1
        assert sent(narrow, halves, seed).tolist() == known.tolist()
        redrawn += draws > 1
    assert redrawn > 0


def test_values_are_limited_to_the_range_and_a_norm_just_on_its_bound_is_taken():
    few = randomized_round(2.0**-10, 1.0, range=0.25)
    assert sent(few, np.array([0.75, -0.5, 0.125], np.float32)).tolist() == [256, -256, 128]
    assert few.protection.max_int(0) == 257
    norm = 1 / (1 + 1e-6)
    assert norm * (1 + 1e-6) == 1.0
    assert sent(randomized_round(2.0**-20, norm, range=0.5), np.ones(1, np.float32)).tolist() == [2**19]


@pytest.mark.parametrize("make", [distributed_noise, skellam_noise])
def test_whole_numbers_exactly_as_long_as_their_noise_is_measured_for_get_it(make):
    step = make(9.0, 1.0, 1.0, 1)
    assert len(sent(step, np.ones(4, np.int32))) == 4
    with pytest.raises(ValueError, match="put a randomized_round"):
        sent(step, np.array([1, 1, 1, 2], np.int32))


def of_client(draw, reach=lambda clients, n: 1, bits=16):
    return client_noise._client_noise("noise", 50.0, draw, reach, bits, Noise(1.0, min_honest=2))


def test_only_numbers_that_do_not_fit_are_drawn_again():
    most, asked = 2**15 - 1, []
    drawn = [[most + 1, -most - 2, most, -most, 3], [5, -most - 8], [6]]

    def draw(n, source, count):
        asked.append((n, count))
        return np.array(drawn[len(asked) - 1], np.int64)

    found = sent(of_client(draw), np.array([7, 1, 0, 0, 10], np.int32))
    assert (found.tolist(), found.dtype) == ([12, 7, most, -most, 13], np.int16)
    assert asked == [(5, 5), (5, 2), (5, 1)]


@pytest.mark.parametrize("seeded", [True, False])
def test_a_clients_noise_is_its_own_of_the_round_or_the_systems(monkeypatch, seeded):
    asked, reached = [], []
    monkeypatch.setattr(rng, "system_source", lambda n: (asked.append(n), np.full(n, 9, np.uint64))[1])
    step = of_client(
        lambda n, source, count: (source(count) >> np.uint64(52)).astype(np.int64),
        lambda clients, n: (reached.append((clients, n)), 100)[1],
    )
    found = sent(step, np.zeros(3, np.int32), seed=4, seeded=seeded)
    stream = rng.seeded_source(4, "noise", round=1, client="ann")
    assert found.tolist() == ((stream(3) >> np.uint64(52)).tolist() if seeded else [0, 0, 0])
    assert (asked, reached) == ([] if seeded else [3], [(1, 3)])
    assert step.protection.max_sum(11, 5, 3) == 5 * 11 + 100
    assert (reached[-1], step.protection.max_int(11)) == ((5, 3), 2**15 - 1)


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("limit", [None, 0.3])
def test_units_are_doubled_from_the_least_that_holds_the_sum_without_noise(monkeypatch, bits, limit):
    norm, multiplier, honest, clients, asked = 1.7, 0.9, 3, 5, []

    def tail(variance, nats):
        asked.append((variance, nats))
        return 2**40 if len(asked) < 4 else 0

    monkeypatch.setattr(client_noise, "tail", tail)
    monkeypatch.setattr(client_noise, "LARGEST_VARIANCE", 2**90)
    found = unit_for(norm, multiplier, honest, bits, clients=clients, range=limit)
    largest = clients * (norm if limit is None else limit)
    unit, tried = 2.0 ** math.ceil(math.log2(largest / (2 ** (bits - 1) - 1))), []
    while len(tried) < 4 or largest / unit + clients > 2 ** (bits - 1) - 1:
        tried.append((math.ceil(clients * (1.25 * multiplier / math.sqrt(honest) * norm / unit) ** 2), 72.0))
        unit *= 2
    assert asked == [*tried, *asked[len(tried) :]]
    assert all(isinstance(variance, int) for variance, _ in asked)
    assert found == (unit if len(asked) > len(tried) else unit / 2)


def test_a_unit_fits_up_to_the_last_number_and_below_the_largest_variance(monkeypatch):
    """With a unit of a quarter, the variance is 25 here, and values and rounding take 5."""
    assert (1.25 * 0.8 / 2.0**-13) ** 2 - LARGEST_VARIANCE == 0
    assert unit_for(1.0, 0.8, 1, 32) == 2.0**-12
    for most, unit in ((2**15 - 1 - 5, 0.25), (2**15 - 5, 0.5)):
        tails = {25: most, 7: 0}
        monkeypatch.setattr(
            client_noise, "tail", lambda variance, nats, tails=tails: tails.get(variance, 2**40)
        )
        assert unit_for(1.0, 4.0, 16, 16) == unit


@pytest.mark.parametrize("n", [0, 1, 2, 50, 10**6])
def test_the_norms_of_an_event_are_to_the_last_digits(n):
    for norm in (0.1, 1.0, 70.0, 9000.0):
        likely = norm**2 + n / 4 + norm + math.sqrt(n) / 2
        assert rounded_norm(norm, n) == min(math.sqrt(likely), norm + math.sqrt(n))
        event = skellam_event(0.1, norm, 3, n)
        assert event.l1 == pytest.approx(min(event.l2**2, math.sqrt(max(n, 1)) * event.l2), rel=1e-14)
    assert [skellam_event(0.1, norm, 3, None).variance for norm in (0.1, 10.0, 15.0, 100.0)] == [1, 1, 2, 100]


def test_a_quick_norm_takes_the_quick_way_wherever_it_can(monkeypatch):
    def never(values):
        raise AssertionError("the slow way")

    monkeypatch.setattr(norms, "l2_norm", never)
    for n in (1, 8192, 20_000):
        assert quick_norm(np.ones(n, np.float32)) == pytest.approx(math.sqrt(n))
    for slow in (np.ones(3), np.full(3, 1e-20, np.float32), np.full(3, 1e30, np.float32)):
        with pytest.raises(AssertionError, match="the slow way"):
            quick_norm(slow)


def test_what_is_scaled_to_exactly_the_bound_stays():
    assert clipped(np.array([6, 8], np.float32), 5.0).tolist() == [3.0, 4.0]


def aggregation(share, column=(1.0,), update=lambda state, within: {"within": within}):
    return NoisyAggregation(ServerClip(lambda state: 2.0, dict, share, update), Noise(1e-9, column), 10.0, 40)


@pytest.mark.parametrize(("answers", "within"), [(0, 0.5), (5, 0.75), (-5, 0.25), (10, 1), (30, 1), (-30, 0)])
def test_the_share_of_clients_within_the_norm_is_half_the_mean_answer_and_a_half(answers, within):
    release = aggregation(0.2)
    half = float(np.float32(release._half_answer(2.0)))
    total = np.rint(np.array([1.0, 2.0, 3.0, answers * half]) * 2**36).astype(np.int64)
    found = release(total, {}, rng.seeded_source(1, "noise"))
    assert found.state["within"] == pytest.approx(within, abs=1e-6)
    assert 0 <= found.state["within"] <= 1
    assert found.delta.tolist() == pytest.approx([0.1, 0.2, 0.3], abs=1e-6)


def test_noise_is_kept_for_all_that_is_summed():
    for share, values in ((0.2, 6), (0.0, 5)):
        release = aggregation(share, (1.0, 0.5, 0.2))
        assert {name: kept.shape for name, kept in release.init(5).items()} == {"noise": (2, values)}
    assert aggregation(0.2).init(5) == {}


def test_a_sampling_without_a_rate_has_no_event():
    with pytest.raises(ValueError, match=r"rate is 0\.0"):
        Noise(1.0).event(uniform(3), 1, 2)
    assert counted_delta(Gaussian(1e-200), 1, 1.0) == 1.0


def test_a_calibration_asks_for_the_strategy_of_noise_one_first():
    asked = []

    def make(noise):
        asked.append(noise)
        return dp_fedavg(0.5, noise, 1e-3, 3.0, sampling=cyclic(5, population=20))

    found = calibrated(make, 3)
    assert (asked[0], asked[-1]) == (1.0, found.release.noise.multiplier)
