"""What a private sum holds is public and fixed: nobody's being there changes what the others may say."""

from dataclasses import replace

import numpy as np
import pytest

from hedgerow.privacy.accounting import Budget
from hedgerow.privacy.ledger import Ledger
from hedgerow.ring.vector import RingVector
from hedgerow.rng import seeded_source
from hedgerow.server import private
from hedgerow.server.masked_collector import MaskedCollector, StartMasked
from hedgerow.server.rounds import begin
from hedgerow.strategies import cyclic, dp_fedavg, dp_ftrl, parse_pipeline, poisson, secure_dp_fedavg
from hedgerow.strategies.release import UNIT, Noise
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.transforms import client_noise
from hedgerow.strategies.transforms.mask import shape_of
from hedgerow.types import Layout, Model, Payload
from hedgerow.wire.replies import Reply
from tests.laws.transform_cases import context_for

LAYOUT = Layout.flat(2)


def collector(strategy, cohort, norm, values, count):
    """So many clients of a cohort of that size, all with the same delta."""
    made = private.StartBounded(strategy, LAYOUT, seed=1)(1, cohort, norm)
    for number in range(count):
        made.add(f"client-{number}", Reply(Payload({"values": np.array(values, np.float32)}), {}, 1, {}))
    return made


@pytest.mark.parametrize("cohort", [1, 6710, 6711, 100_000, 2**26])
@pytest.mark.parametrize("values", [[1e4, 0], [0, -3e6]])
def test_the_size_of_the_cohort_decides_nothing_of_what_a_client_may_add(cohort, values):
    strategy = dp_fedavg(1e4, 1.0, 1e-5, sampling=poisson(2, population=6710))
    made = collector(strategy, cohort, 1e4, values, 3)
    assert made.collected.dropped == {}
    alone = collector(strategy, 3, 1e4, values, 3)
    assert made.total().tolist() == alone.total().tolist()
    assert np.abs(made.total() * UNIT).max() == pytest.approx(3e4)


def test_more_clients_than_there_were_meant_to_be_still_have_a_sum():
    """A sum beyond the range stops at its end: a clip, which brings no two sums further apart."""
    strategy = dp_fedavg(3e5, 1.0, 1e-5, sampling=poisson(100, population=200))
    sums = [collector(strategy, count, 3e5, [3e5, 3], count).total() * UNIT for count in (200, 223, 224, 600)]
    assert [total[0] for total in sums] == pytest.approx([6e7, 6.69e7, 2**26, 2**26])
    assert [total[1] for total in sums] == pytest.approx([600, 669, 672, 1800], rel=1e-3)


@pytest.mark.parametrize(
    ("make", "sampling", "largest"),
    [
        (dp_fedavg, poisson(6711, population=6711), 9999.83),
        (dp_fedavg, poisson(6000, population=10**6), 9614.45),
        (dp_ftrl, cyclic(6711, population=6711 * 8), 8664.8),
        (secure_dp_fedavg, cyclic(40, population=400), 404_270),
    ],
)
def test_a_clip_norm_whose_sum_might_not_fit_is_refused_when_the_strategy_is_built(make, sampling, largest):
    assert make(largest * 0.99, delta=1e-5, sampling=sampling).private
    with pytest.raises(
        ValueError,
        match=r"the clip norm is .*; at most .* is allowed where a cohort may have .* clients, so that their"
        r" sum stays within 67,108,864: take a smaller clip norm, or ask fewer clients",
    ) as caught:
        make(largest * 1.01, delta=1e-5, sampling=sampling)
    assert f"at most {largest:.6g} is" in str(caught.value)


def test_the_norm_of_the_issue_is_refused_or_not_by_the_public_population_alone():
    assert dp_fedavg(1e4, sampling=poisson(6710, population=6710)).private
    with pytest.raises(ValueError, match="may have 6,711 clients"):
        dp_fedavg(1e4, sampling=poisson(6711, population=6711))


def test_an_adaptive_norm_stops_where_the_sum_of_the_largest_cohort_fits():
    strategy = dp_fedavg(
        1.0, 1.0, 1e-5, clip_quantile=0.5, clip_share=0.02, sampling=poisson(9000, population=9000)
    )
    release = strategy.release
    grown = {"clip_norm": np.array([1e4])}
    assert release.norm(grown) == release.largest_norm < 1e4
    assert release.sensitivity(release.norm(grown)) * 9000 == pytest.approx(2**26)
    made = collector(strategy, 9000, release.norm(grown), [1e9, 0], 1)
    assert made.collected.dropped == {}
    noised = release(made.total(), grown, seeded_source(0, "noise"))
    assert np.isfinite(noised.delta).all()
    with pytest.raises(ValueError, match="the clip norm is 10000"):
        dp_fedavg(1e4, 1.0, 1e-5, clip_quantile=0.5, sampling=poisson(9000, population=9000))


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("expected", [40, 1000])
def test_any_cohort_that_may_come_has_a_ring(bits, expected):
    sampling = cyclic(expected, population=10 * expected)
    strategy = secure_dp_fedavg(1.0, 2.0, 1e-5, bits=bits, sampling=sampling)
    for clients in (expected, int(1.3 * expected), sampling.most_clients):
        assert shape_of(strategy.pipeline, LAYOUT, clients).ring.bits <= 32


def test_a_run_whose_cohorts_might_have_no_ring_does_not_begin():
    unit = 2.0**-20
    noise = f"distributed_noise(1.0, 64.0, {unit}, 9, 32)"
    pipeline = parse_pipeline(
        f"chain(clip(64.0), randomized_round({unit}, 64.0), {noise}, mask(min_clients=12))"
    )
    strategy = Strategy(sampling=cyclic(12, population=120), pipeline=pipeline, budget=Budget(1e-5))
    assert shape_of(pipeline, LAYOUT, 12).ring.bits <= 32
    state = begin(strategy, Model(np.zeros(2, np.float32)), LAYOUT)
    with pytest.raises(ValueError, match=r"needs a ring of 3[345] bits; 32 are allowed"):
        private.check(strategy, LAYOUT, state, Ledger(Budget(1e-5)))
    with pytest.raises(ValueError, match="may have 4535 clients, and a mask allows at most 4096; ask fewer"):
        replace(strategy, sampling=cyclic(3750, population=37_500))


def test_a_masked_sum_beyond_the_range_stops_at_its_end():
    strategy = secure_dp_fedavg(4e5, 2.0, 1e-5, value_range=4e5, sampling=cyclic(40, population=400))
    made = MaskedCollector(StartMasked(strategy, LAYOUT, 1), 1, 166)
    most = 2 ** (made.shape.ring.bits - 1) - 1
    weights = np.full(made.shape.words, 166, np.uint64)
    made.collected.sum.add(RingVector(made.shape.ring.put(np.array([most, -most])), weights))
    made.collected.counted = 166
    assert np.abs(made.result({})[0]).max() > 0
    assert (made.total() * UNIT).tolist() == [2.0**26, -(2.0**26)]


def test_the_largest_cohort_is_exceeded_by_less_than_one_in_1e30():
    """Against the exact tail of the distribution."""
    from scipy import stats

    for expected in (1, 10, 300, 20_000):
        for population in (2 * expected, 1000 * expected):
            sampling = poisson(expected, population=population)
            assert stats.binom.sf(sampling.most_clients, population, expected / population) < 1e-30
            assert sampling.most_clients <= population


@pytest.mark.parametrize("quantile", [None, 0.5])
def test_a_run_begins_where_the_noise_of_its_values_just_fits(quantile, monkeypatch):
    """Of all that is summed: the model's values, and an answer where the norm adapts."""
    more = {} if quantile is None else {"clip_quantile": quantile}
    strategy = dp_fedavg(1.0, 1000.0, 1e-5, sampling=poisson(10, population=100), **more)
    release, ledger = strategy.release, Ledger(Budget(1e-5))
    state = begin(strategy, Model(np.zeros(2, np.float32)), LAYOUT)
    needed = release.sigma(release.norm(state.private), 2 + (quantile is not None))
    monkeypatch.setattr("hedgerow.strategies.release.LARGEST_SIGMA", needed)
    private.check(strategy, LAYOUT, state, ledger)
    monkeypatch.setattr("hedgerow.strategies.release.LARGEST_SIGMA", needed - 1)
    with pytest.raises(ValueError, match="take a smaller clip norm or noise multiplier"):
        private.check(strategy, LAYOUT, state, ledger)


@pytest.mark.parametrize(("length", "within"), [(4.999, True), (5.0, True), (5.001, False)])
def test_a_delta_as_long_as_the_norm_is_within_it(length, within):
    strategy = dp_fedavg(5.0, 1.0, 1e-5, clip_quantile=0.5, sampling=poisson(10, population=100))
    delta = np.array([0.6, 0.8], np.float64) * length
    answer = strategy.release.contribution(delta.astype(np.float32), float(np.float32(5.0)))[-1]
    assert (answer > 0) == within


@pytest.mark.parametrize("bits", [16, 32])
def test_whole_numbers_that_just_fit_beside_their_noise_are_sent_and_one_more_is_refused(bits):
    reach, most = 100.0, 2 ** (bits - 1) - 1

    def step(norm):
        return client_noise._client_noise(
            "noise", norm, lambda n, source, count: np.zeros(count, np.int64), lambda clients, n: int(reach),
            bits, Noise(1.0),
        )  # fmt: skip

    payload, context = Payload({"values": np.zeros(2, f"int{bits}")}), context_for(2)
    assert not step(most - 1 - reach).encode(payload, {}, context)[0].values.any()
    with pytest.raises(ValueError, match=f"at most {most} fit"):
        step(most - reach).encode(payload, {}, context)
