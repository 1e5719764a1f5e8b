"""Noise that clients add: their sum has what the ledger says, also when some of them are missing."""

from dataclasses import dataclass, replace
from math import ceil, sqrt

import numpy as np
import pytest
from scipy import stats

from hedgerow import rng
from hedgerow.experiments.runs.simulate import simulate
from hedgerow.privacy.accounting import epsilon
from hedgerow.privacy.events import Gaussian
from hedgerow.strategies import (
    clip,
    cyclic,
    distributed_noise,
    encode,
    poisson,
    quantize,
    randomized_round,
    secure_dp_fedavg,
    skellam_noise,
)
from hedgerow.strategies.pipeline.chain import chain
from hedgerow.strategies.transforms.client_noise import rounded_norm, skellam_event, unit_for
from hedgerow.types import Client, Fit, Layout, Model, Payload, RoundContext
from tests.support import MeanTrainer, clients

D = 4000
LAYOUT = Layout.flat(D)


def context(client: str, seeded: bool = True) -> RoundContext:
    return RoundContext(1, 1, Client(client), LAYOUT, 5, seeded)


def strategy(corrupt=0.1, dropout=0.1, clients=20, **parts):
    return secure_dp_fedavg(
        1.0,
        2.0,
        1e-3,
        corrupt=corrupt,
        dropout=dropout,
        sampling=cyclic(clients, population=clients),
        **parts,
    )


def summed(pipeline, count: int, seeded: bool = True) -> np.ndarray:
    """The sum of clients that all send nothing but noise."""
    sent = [
        encode(pipeline, np.zeros(D, np.float32), {}, context(f"c{i}", seeded))[0].values
        for i in range(count)
    ]
    assert all(values.dtype == np.int16 for values in sent)
    return np.sum(sent, axis=0, dtype=np.int64)


def unit_of(pipeline) -> float:
    return float(pipeline.name.partition("randomized_round(")[2].partition(",")[0])


@pytest.mark.parametrize("noise", ["gaussian", "skellam"])
@pytest.mark.parametrize("seeded", [True, False], ids=["seeded", "system"])
def test_the_fewest_clients_make_all_of_the_noise(seeded, noise):
    pipeline = strategy(noise=noise).pipeline
    min_honest = pipeline.protection.noise.min_honest
    assert min_honest == 16
    sigma = 2.0 * rounded_norm(1 / unit_of(pipeline), D)
    # 4000 values tell a standard deviation to 1.1 %; 8 % refuses the right one with probability 1e-12.
    noise = summed(pipeline, min_honest, seeded)
    assert abs(noise.std() / sigma - 1) < 0.08
    assert abs(noise.std() / (1.5 * sigma) - 1) > 0.08
    assert abs(noise.std() / (2 / 3 * sigma) - 1) > 0.08
    assert stats.kstest(noise / noise.std(), "norm").pvalue > 1e-6
    assert summed(pipeline, min_honest - 4, seeded).std() < 0.92 * sigma, "of fewer, it would be too little"


def test_in_eight_bits_the_sum_is_skellam_with_the_variance_that_is_counted():
    pipeline = chain(clip(1.0), randomized_round(1 / 16, 1.0), skellam_noise(1.0, 1.0, 1 / 16, 300, 8))
    event = pipeline.protection.noise.skellam(D)
    assert event.variance == 1500, "a part of 5"
    zeros = np.zeros(D, np.float32)
    sent = [encode(pipeline, zeros, {}, context(f"c{i}", seeded=False))[0].values for i in range(300)]
    assert {values.dtype for values in sent} == {np.dtype(np.int8)}
    seen = np.sum(sent, axis=0, dtype=np.int64)
    edges = np.arange(-90.5, 91, 12)
    for variance, sound in ((1500, True), (1000, False), (2250, False)):
        below = stats.skellam.cdf(np.floor(edges), variance / 2, variance / 2)
        expected = np.diff([0.0, *below, 1.0]) * D
        counts = np.histogram(seen, [-np.inf, *edges, np.inf])[0]
        assert (stats.chisquare(counts, expected).pvalue > 1e-6) == sound


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("min_honest", [4, 40, 1000])
@pytest.mark.parametrize("multiplier", [0.5, 4.0])
def test_the_smallest_unit_that_fits_is_chosen(bits, min_honest, multiplier):
    """Where rounding lengthens a vector by less than a quarter: a small model."""
    unit = unit_for(0.5, multiplier, min_honest, bits)
    noise = skellam_noise(multiplier, 0.5, unit, min_honest, bits)
    step = chain(clip(0.5), randomized_round(unit, 0.5), noise)
    values = encode(step, np.full(1, 0.5, np.float32), {}, RoundContext(1, 1, Client("a"), Layout.flat(1)))[
        0
    ].values
    assert values.dtype.itemsize * 8 == bits
    event = skellam_event(multiplier, 0.5 / unit, min_honest, 1)
    assert step.protection.noise.skellam(1) == event
    share = event.variance / min_honest
    reach = 0.5 / unit + 12 * sqrt(share)
    assert reach <= 2 ** (bits - 1) - 1
    assert reach >= 2 ** (bits - 1) / 4, "half a bit for the tail, and one for the power of two"


def test_randomized_rounding_is_unbiased_and_keeps_the_norm():
    x = np.array([0.31, -0.77, 0.02, 0.5], np.float32)
    x /= np.float32(np.linalg.norm(x) * 1.0001)
    step, small = chain(clip(1.0), randomized_round(1 / 64, 1.0)), Layout.flat(4)
    drawn = np.array(
        [encode(step, x, {}, RoundContext(1, r, Client("a"), small))[0].values for r in range(1, 4001)],
        np.float64,
    )
    assert np.sqrt(np.square(drawn).sum(1)).max() <= rounded_norm(64, 4)
    error = (drawn / 64 - x).mean(0) / (drawn.std(0) / 64 / sqrt(4000) + 1e-9)
    assert np.abs(error).max() < 5


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1.0, 1e6])
def test_no_rounded_vector_is_longer_than_the_noise_is_measured_for(scale):
    random = rng.generator(4, "vectors")
    for number in range(50):
        x = (random.standard_t(1.5, D) * scale).astype(np.float32)
        where = RoundContext(1, number + 1, Client("a"), LAYOUT)
        for unit in (1 / 16, 1 / 1024):
            values = encode(chain(clip(1.0), randomized_round(unit, 1.0)), x, {}, where)[0].values
            assert np.sqrt(np.square(values.astype(np.float64)).sum()) <= rounded_norm(1 / unit, D)


def test_values_beyond_the_range_are_cut_to_it():
    x = np.array([0.6, -0.6, 0.1, 0.0], np.float32)
    where = RoundContext(1, 1, Client("a"), Layout.flat(4))
    assert encode(randomized_round(1 / 64, 1.0, range=0.25), x, {}, where)[0].values[:2].tolist() == [16, -16]
    assert encode(randomized_round(1 / 64, 1.0), x, {}, where)[0].values[0] in (38, 39)


def test_a_vector_that_was_not_clipped_is_refused():
    with pytest.raises(ValueError, match=r"the norm is .*; put clip\(1.0\) before it"):
        encode(
            randomized_round(0.25, 1.0), np.eye(D, dtype=np.float32)[0] * np.float32(1.001), {}, context("a")
        )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: randomized_round(0.3, 1.0), "unit is 0.3; it must be a power of two"),
        (lambda: randomized_round(0.25, 1.0, range=2.0), "range is 2.0; it must be at most the norm"),
        (lambda: strategy(corrupt=1.0), "corrupt is 1.0"),
        (lambda: strategy(corrupt=0.4, dropout=0.4), "cannot tolerate 4 corrupt clients and 4 that drop out"),
        (
            lambda: strategy(clients=9),
            "a cohort has 9 clients, and clients refuse cohorts of fewer than 10",
        ),
        (lambda: strategy(noise="laplace"), "noise is 'laplace'"),
        (lambda: strategy(pipeline=quantize(8)), "leave it out"),
        (lambda: secure_dp_fedavg(bits=4), "bits is 4"),
        (
            lambda: secure_dp_fedavg(sampling=poisson(15, population=90)),
            "which knows whom poisson.* drew; use cyclic",
        ),
    ],
)
def test_what_would_not_be_private_is_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize("noise", [distributed_noise, skellam_noise])
def test_noise_for_another_unit_is_refused_where_it_would_be_too_little(noise):
    """A step of another norm or unit: the ledger counts less than a client reveals."""
    x = np.full(D, 1 / sqrt(D) * 0.999, np.float32)
    for unit, norm in ((1 / 64, 1.0), (1 / 128, 0.5)):
        step = chain(clip(1.0), randomized_round(1 / 128, 1.0), noise(4.0, norm, unit, 9))
        with pytest.raises(
            ValueError, match=r"norm of 1\d\d.*measured for .*randomized_round\(\.\.\.\) of the same norm"
        ):
            encode(step, x, {}, context("a"))


@dataclass(frozen=True)
class Some(MeanTrainer):
    """Trains but for the first clients, which fail."""

    failing: int = 0

    def fit(self, model, data, local, *, seed, round, client):
        if int(client[-3:]) < self.failing:
            raise ValueError("no battery")
        return super().fit(model, data, local, seed=seed, round=round, client=client)


@dataclass(frozen=True)
class Silent(Some):
    """Has learned nothing, in many dimensions: what is released is the noise."""

    layout: Layout = LAYOUT

    def initial(self, seed):
        return Model(np.zeros(D, np.float32))

    def fit(self, model, data, local, *, seed, round, client):
        if int(client[-3:]) < self.failing:
            raise ValueError("no battery")
        return Fit(np.zeros(D, np.float32), np.empty(0, np.float32), len(data))


def run(chosen, trainer, folder=None, rounds=3, **options):
    return list(simulate(trainer, clients(20), chosen, rounds=rounds, folder=folder, **options))


@pytest.mark.parametrize("noise", ["gaussian", "skellam"])
@pytest.mark.parametrize("failing", [0, 4])
@pytest.mark.parametrize("masks", [False, True], ids=["unmasked", "masked"])
def test_what_is_unmasked_has_the_noise_that_is_counted_also_when_the_fewest_are_left(noise, failing, masks):
    chosen = strategy(corrupt=0.0, dropout=0.2, noise=noise)
    assert chosen.pipeline.protection.noise.min_honest == 16
    (result,) = run(chosen, Silent(failing=failing), rounds=1, masks=masks)
    assert (result.failed, len(result.dropped)) == ("", failing)
    unit = unit_of(chosen.pipeline)
    sigma = 2.0 * rounded_norm(1 / unit, D) * sqrt((20 - failing) / 16)
    # 4000 values tell a standard deviation to 1.1 %; 8 % refuses the right one with probability 1e-12.
    seen = result.state.model.parameters.astype(np.float64).std() * 20 / unit
    assert abs(seen / sigma - 1) < 0.08
    assert abs(seen / (1.5 * sigma) - 1) > 0.08
    assert abs(seen / (2 / 3 * sigma) - 1) > 0.08


def test_skellam_noise_is_counted_as_such():
    chosen = strategy(noise="skellam")
    event = skellam_event(2.0, 1 / unit_of(chosen.pipeline), 16, MeanTrainer().layout.dimension)
    seen = [r.epsilon for r in run(chosen, Some(failing=2), rounds=2)]
    assert seen == pytest.approx([epsilon([event] * n, 1e-3) for n in (1, 2)])


@pytest.mark.parametrize("masks", [False, True], ids=["unmasked", "masked"])
def test_with_too_few_left_nothing_is_released_and_nothing_is_counted(masks, tmp_path):
    """Two of twenty may be corrupt, and add no noise: 18 must be left for 16 to be honest."""
    enough = run(strategy(), Some(failing=2), masks=masks)
    few = run(strategy(), Some(failing=3), tmp_path / "few", masks=masks)
    assert [r.failed for r in enough] == [""] * 3
    assert [r.epsilon for r in enough] == pytest.approx(
        [epsilon([Gaussian(2.0)] * n, 1e-3) for n in (1, 2, 3)]
    )
    assert {r.failed for r in few} == {
        "secure aggregation failed: TooFewSurvivors: 17 of 20 clients have sent masked vectors; 18 are needed"
    }
    assert {r.epsilon for r in few} == {0.0}
    assert not (tmp_path / "few" / "privacy.jsonl").exists()
    assert np.array_equal(few[-1].state.model.parameters, MeanTrainer().initial(0).parameters)


def test_without_a_mask_too_few_release_nothing_either():
    unmasked = replace(
        strategy(),
        pipeline=chain(clip(1.0), randomized_round(2**-10, 1.0), distributed_noise(2.0, 1.0, 2**-10, 16)),
    )
    for failing, says in ((4, ""), (5, "15 clients count, and the noise of 16 makes a sum private")):
        (result,) = run(unmasked, Some(failing=failing), rounds=1)
        assert result.failed == says
        assert bool(result.epsilon) == (not says)


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (
            distributed_noise(1.0, 1.0, 0.25, 400),
            "noise is 2 units, and must be 4 or more: .*or skellam_noise",
        ),
        (distributed_noise(1.0, 1.0, 2.0**-14, 1), "of which .* are noise, and at most 32767 fit: choose a"),
        (
            skellam_noise(1.0, 1.0, 1 / 16, 9, 8),
            "of which .* are noise, and at most 127 fit: choose a larger",
        ),
    ],
)
def test_noise_that_would_not_fit_is_refused(step, says):
    with pytest.raises(ValueError, match=says):
        step.encode(Payload({"values": np.zeros(D, np.int32)}), {}, context("a"))


@pytest.mark.parametrize("clients", [1, 50])
def test_a_sum_has_room_for_twelve_standard_deviations_of_all_noise(clients):
    step = distributed_noise(2.0, norm=1.0, unit=2.0**-9, min_honest=20, bits=32)
    sigma = ceil(2.0 * rounded_norm(2.0**9, 100) / sqrt(20))
    room = step.protection.max_sum(0, clients, 100)
    assert 12 * sigma * sqrt(clients) - 1 <= room <= 12.01 * sigma * sqrt(clients) + 1
