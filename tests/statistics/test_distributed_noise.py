"""Noise that clients add: their sum has what the ledger says, also when some of them are missing."""

from math import sqrt

import numpy as np
import pytest
from scipy import stats

from hedgerow import rng
from hedgerow.client.app import client_app
from hedgerow.privacy.accounting import epsilon
from hedgerow.privacy.events import Gaussian
from hedgerow.server.app import train
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies import (
    clip,
    cyclic,
    distributed_noise,
    encode,
    lattice,
    poisson,
    quantize,
    secure_dp_fedavg,
    skellam_noise,
)
from hedgerow.strategies.distributed import lattice_norm, skellam_event, unit_for
from hedgerow.strategies.transform import chain
from hedgerow.types import Layout, Payload, RoundContext
from tests.support import MeanTrainer, clients

D = 4000
LAYOUT = Layout.flat(D)


def context(client: str, seeded: bool = True) -> RoundContext:
    return RoundContext(1, 1, client, LAYOUT, 5, seeded)


def strategy(missing=0.2, clients=20, **parts):
    return secure_dp_fedavg(
        1.0, 2.0, 1e-3, missing=missing, sampling=cyclic(clients, population=clients), **parts
    )


def summed(pipeline, count: int, seeded: bool = True) -> np.ndarray:
    """The sum of clients that all send nothing but noise."""
    sent = [
        encode(pipeline, np.zeros(D, np.float32), {}, context(f"c{i}", seeded))[0].values
        for i in range(count)
    ]
    assert all(values.dtype == np.int16 for values in sent)
    return np.sum(sent, axis=0, dtype=np.int64)


@pytest.mark.parametrize("noise", ["gaussian", "skellam"])
@pytest.mark.parametrize("seeded", [True, False], ids=["seeded", "system"])
def test_the_fewest_clients_make_all_of_the_noise(seeded, noise):
    pipeline = strategy(noise=noise).pipeline
    fewest = pipeline.noise.fewest
    assert fewest == 16
    unit = float(pipeline.name.partition("lattice(")[2].partition(",")[0])
    sigma = 2.0 * lattice_norm(1 / unit, D)
    # 4000 values tell a standard deviation to 1.1 %; 8 % refuses the right one with probability 1e-12.
    noise = summed(pipeline, fewest, seeded)
    assert abs(noise.std() / sigma - 1) < 0.08
    assert abs(noise.std() / (1.5 * sigma) - 1) > 0.08
    assert abs(noise.std() / (2 / 3 * sigma) - 1) > 0.08
    assert stats.kstest(noise / noise.std(), "norm").pvalue > 1e-6
    assert summed(pipeline, fewest - 4, seeded).std() < 0.92 * sigma, "of fewer, it would be too little"


def test_in_eight_bits_the_sum_is_skellam_with_the_variance_that_is_counted():
    pipeline = chain(clip(1.0), lattice(1 / 16, 1.0), skellam_noise(1.0, 1.0, 1 / 16, 300, 8))
    event = pipeline.noise.skellam(D)
    assert event.variance == 1500, "a share of 5"
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
@pytest.mark.parametrize("fewest", [4, 40, 1000])
@pytest.mark.parametrize("multiplier", [0.5, 4.0])
def test_the_smallest_unit_that_fits_is_chosen(bits, fewest, multiplier):
    """Where rounding lengthens a vector by less than a quarter: a small model."""
    unit = unit_for(0.5, multiplier, fewest, bits)
    step = chain(clip(0.5), lattice(unit, 0.5), skellam_noise(multiplier, 0.5, unit, fewest, bits))
    values = encode(step, np.full(1, 0.5, np.float32), {}, RoundContext(1, 1, "a", Layout.flat(1)))[0].values
    assert values.dtype.itemsize * 8 == bits
    event = skellam_event(multiplier, 0.5 / unit, fewest, 1)
    assert step.noise.skellam(1) == event
    share = event.variance / fewest
    reach = 0.5 / unit + 12 * sqrt(share)
    assert reach <= 2 ** (bits - 1) - 1
    assert reach >= 2 ** (bits - 1) / 4, "half a bit for the tail, and one for the power of two"


def test_rounding_to_the_lattice_is_unbiased_and_keeps_the_norm():
    x = np.array([0.31, -0.77, 0.02, 0.5], np.float32)
    x /= np.float32(np.linalg.norm(x) * 1.0001)
    step, small = chain(clip(1.0), lattice(1 / 64, 1.0)), Layout.flat(4)
    drawn = np.array(
        [encode(step, x, {}, RoundContext(1, r, "a", small))[0].values for r in range(1, 4001)], np.float64
    )
    assert np.sqrt(np.square(drawn).sum(1)).max() <= lattice_norm(64, 4)
    error = (drawn / 64 - x).mean(0) / (drawn.std(0) / 64 / sqrt(4000) + 1e-9)
    assert np.abs(error).max() < 5


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1.0, 1e6])
def test_no_rounded_vector_is_longer_than_the_noise_is_measured_for(scale):
    random = rng.generator(4, "vectors")
    for number in range(50):
        x = (random.standard_t(1.5, D) * scale).astype(np.float32)
        where = RoundContext(1, number + 1, "a", LAYOUT)
        for unit in (1 / 16, 1 / 1024):
            values = encode(chain(clip(1.0), lattice(unit, 1.0)), x, {}, where)[0].values
            assert np.sqrt(np.square(values.astype(np.float64)).sum()) <= lattice_norm(1 / unit, D)


def test_a_vector_that_was_not_clipped_is_refused():
    with pytest.raises(ValueError, match=r"the norm is .*; put clip\(1.0\) before it"):
        encode(lattice(0.25, 1.0), np.full(D, 1, np.float32), {}, context("a"))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: lattice(0.3, 1.0), "unit is 0.3; it must be a power of two"),
        (lambda: strategy(missing=1.0), "missing is 1.0"),
        (lambda: strategy(pipeline=quantize(8)), "leave it out"),
        (lambda: secure_dp_fedavg(bits=8), "bits is 8; it must be 16 or 32"),
        (lambda: secure_dp_fedavg(bits=32, noise="skellam"), "bits is 32; it must be 8 or 16"),
        (lambda: secure_dp_fedavg(noise="skelam"), "Did you mean 'skellam'"),
        (
            lambda: secure_dp_fedavg(sampling=poisson(5, population=9)),
            "who knows whom poisson.* drew; use cyclic",
        ),
    ],
)
def test_what_would_not_be_private_is_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize("noise", [distributed_noise, skellam_noise])
def test_noise_for_another_lattice_is_refused_where_it_would_be_too_little(noise):
    """A step of another norm or unit: the ledger counts less than a client reveals."""
    x = np.full(D, 1 / sqrt(D) * 0.999, np.float32)
    for unit, norm in ((1 / 64, 1.0), (1 / 128, 0.5)):
        step = chain(clip(1.0), lattice(1 / 128, 1.0), noise(4.0, norm, unit, 9))
        with pytest.raises(
            ValueError, match=r"norm of 1\d\d.*measured for .*lattice\(\.\.\.\) of the same norm"
        ):
            encode(step, x, {}, context("a"))


def run(chosen, failing=0, workers=1):
    """Rounds in which some clients fail."""
    data = clients(20)

    class Some(MeanTrainer):
        def fit(self, model, data, local, *, seed, round, client):
            if int(client[-3:]) < failing:
                raise ValueError("no battery")
            return super().fit(model, data, local, seed=seed, round=round, client=client)

    trainer = Some()
    app = client_app(trainer, data, chosen, seeded_noise=True)
    with InProcessGrid(app, 20, names=data.names, workers=workers) as grid:
        yield from train(grid, chosen, trainer.initial(0), trainer.layout, num_rounds=3, seeded_noise=True)


@pytest.mark.parametrize(
    ("noise", "event"),
    [
        ("gaussian", Gaussian(2.0)),
        ("skellam", skellam_event(2.0, 2.0**11, 16, MeanTrainer().layout.dimension)),
    ],
)
def test_with_too_few_left_nothing_is_released_and_nothing_is_counted(noise, event):
    chosen = strategy(noise=noise)
    enough, few = list(run(chosen, failing=4)), list(run(chosen, failing=5))
    assert [r.failed for r in enough] == [""] * 3
    assert [r.epsilon for r in enough] == pytest.approx([epsilon([event] * n, 1e-3) for n in (1, 2, 3)])
    assert all("15 clients count, and the noise of 16 makes a sum private" in r.failed for r in few)
    assert {r.epsilon for r in few} == {0.0}
    assert np.array_equal(few[-1].state.model.parameters, MeanTrainer().initial(0).parameters)


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


def test_one_seed_gives_one_model_with_any_number_of_workers():
    one, two = (list(run(strategy(), workers=workers))[-1].state.model for workers in (1, 2))
    assert np.array_equal(one.parameters, two.parameters)
