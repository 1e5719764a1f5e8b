"""What noise, clips, events, plans and releases refuse, beside the nearest that they take."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hedgerow.privacy.accounting import Budget
from hedgerow.privacy.bands import optimal_bands
from hedgerow.privacy.discrete_gaussian import LARGEST_SIGMA, discrete_gaussian
from hedgerow.privacy.events import Cyclic, Gaussian, PoissonSampled, Skellam, from_json, to_json
from hedgerow.privacy.planning import solve
from hedgerow.privacy.skellam import LARGEST_VARIANCE, skellam
from hedgerow.rng import seeded_source
from hedgerow.strategies import cyclic, dp_fedavg, fedavg, poisson
from hedgerow.strategies.calibration import calibrated, noise_multiplier
from hedgerow.strategies.release import UNIT, Noise, NoisyAggregation, ServerClip
from hedgerow.strategies.transforms.client_noise import (
    distributed_noise,
    randomized_round,
    rounded_norm,
    skellam_noise,
)
from hedgerow.strategies.transforms.clipping import adaptive_clip, clip
from hedgerow.strategies.transforms.noise import banded_noise, gaussian_noise
from hedgerow.types import Payload
from tests.laws.transform_cases import context_for

SOURCE = seeded_source(1, "refusals")
ONE = Gaussian(1.0)
PLAN = {"epsilon": 3.0, "delta": 1e-5, "rounds": 4, "noise_multiplier": 9.0, "rate": 1.0}


def planned(**given):
    return solve(**{**PLAN, "epsilon": None, **given})


def rounding(unit=0.25, norm=1.0, range=None):
    return randomized_round(unit, norm, range)


def turns(noise):
    return dp_fedavg(0.5, noise, 1e-3, 3.0, sampling=cyclic(5, population=20))


CHECKS = [
    (lambda v: Budget(v), [1e-300, 1 - 1e-16], [0.0, 1.0, -0.1, 2.0], "delta is"),
    (lambda v: Budget(0.1, v), [5e-324, 1e300, None], [0.0, -1.0, math.inf], "epsilon is"),
    (lambda v: Budget(0.1, adjacency=v), ["zero_out", "replace"], ["", "zero"], "adjacency is"),
    (Gaussian, [5e-324, 1e300], [0.0, -1.0, math.inf, math.nan], "noise_multiplier is"),
    (lambda v: Skellam(v, 1.0, 1.0), [1, 2**62], [0, 1.5, -1], "variance is"),
    (lambda v: Skellam(1, v, 1.0), [5e-324, 1e300], [0.0, math.inf], "l2 is"),
    (lambda v: Skellam(1, 1.0, v), [5e-324, 1e300], [0.0, math.inf], "l1 is"),
    (lambda v: PoissonSampled(v, ONE), [5e-324, 1.0], [0.0, math.nextafter(1, 2)], "rate is"),
    (lambda v: Cyclic(ONE, v, 0), [1, 9], [0, 1.5], "groups is"),
    (lambda v: Cyclic(ONE, 1, v), [0, 9], [-1, 1.5], "round is"),
    (lambda v: discrete_gaussian(v, 1, SOURCE), [1, LARGEST_SIGMA], [0, LARGEST_SIGMA + 1], "sigma is"),
    (lambda v: discrete_gaussian(2, v, SOURCE), [0, 1], [-1, 1.5], "n is"),
    (lambda v: skellam(v, 1, SOURCE), [1, LARGEST_VARIANCE], [0, LARGEST_VARIANCE + 1], "variance is"),
    (lambda v: skellam(2, v, SOURCE), [0, 1], [-1, 1.5], "n is"),
    (lambda v: optimal_bands(v, 3), [1, 2], [0, 1.5], "number is"),
    (lambda v: optimal_bands(2, v), [1, 2], [0, 1.5], "rounds is"),
    (lambda v: planned(delta=v), [0.5], [0.0, 1.0], "delta is"),
    (lambda v: planned(rounds=v), [1], [0, 1.5], "rounds is"),
    (lambda v: planned(noise_multiplier=v), [9.0], [0.0, -1.0], "noise_multiplier is"),
    (lambda v: planned(rate=v), [1.0], [0.0, 1.1], "rate is"),
    (lambda v: planned(adjacency=v), ["replace"], ["swap"], "adjacency is"),
    (lambda v: solve(**{**PLAN, "delta": None, "epsilon": v}), [3.0], [0.0, -1.0], "epsilon is"),
    (clip, [5e-324, 1e300], [0.0, -1.0, math.inf], "norm is"),
    (adaptive_clip, [1e-5, 1e4], [0.99e-5, 1.01e4, 0.0, -1.0], "initial is"),
    (lambda v: adaptive_clip(quantile=v), [0.01, 0.99], [0.0, 1.0], "quantile is"),
    (lambda v: adaptive_clip(share=v), [0.01, 0.99], [0.0, 1.0], "share is"),
    (lambda v: adaptive_clip(learning_rate=v), [1e-9, 9.0], [0.0, -1.0], "learning_rate is"),
    (lambda v: rounding(unit=v), [0.5, 4.0, 2.0**-20], [0.3, 0.0, -0.5, 3.0], "unit is"),
    (lambda v: rounding(norm=v), [1e-9, 2.0**28 - 1], [0.0, -1.0], "norm is"),
    (lambda v: rounding(norm=v), [2.0**28 - 32], [2.0**28, 2.0**29], "norm / unit is"),
    (lambda v: rounding(range=v), [1e-9, 1.0, None], [0.0, -1.0, 1.0001], "range is"),
    (lambda v: distributed_noise(v, 1.0, 2.0**-9, 2), [1e-9, 9.0], [0.0], "multiplier is"),
    (lambda v: distributed_noise(1.0, v, 2.0**-9, 2), [1e-9, 9.0], [0.0], "norm is"),
    (lambda v: distributed_noise(1.0, 1.0, v, 2), [1e-9, 9.0], [0.0], "unit is"),
    (lambda v: distributed_noise(1.0, 1.0, 2.0**-9, v), [1, 9], [0, 1.5], "min_honest is"),
    (lambda v: distributed_noise(1.0, 1.0, 2.0**-9, 2, v), [16, 32], [8, 15, 17, 31, 33], "bits is"),
    (lambda v: skellam_noise(v, 1.0, 2.0**-9, 2), [1e-9, 9.0], [0.0], "multiplier is"),
    (lambda v: skellam_noise(1.0, v, 2.0**-9, 2), [1e-9, 9.0], [0.0], "norm is"),
    (lambda v: skellam_noise(1.0, 1.0, v, 2), [1e-9, 9.0], [0.0], "unit is"),
    (lambda v: skellam_noise(1.0, 1.0, 2.0**-9, v), [1, 9], [0, 1.5], "min_honest is"),
    (lambda v: skellam_noise(1.0, 1.0, 2.0**-9, 2, v), [8, 16, 32], [7, 9, 15, 17, 31, 33], "bits is"),
    (gaussian_noise, [1e-9, 9.0], [0.0, -1.0], "multiplier is"),
    (lambda v: banded_noise(v, 2, 3), [1e-9, 9.0], [0.0, -1.0], "multiplier is"),
    (lambda v: banded_noise(1.0, v, 3), [1, 2], [0, 1.5], "bands is"),
    (lambda v: banded_noise(1.0, 2, v), [1, 2], [0, 1.5], "rounds is"),
    (lambda v: noise_multiplier(turns, v), [1], [0, 1.5], "rounds is"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "taken", "refused", "said"), CHECKS, ids=[str(n) for n in range(len(CHECKS))]
)
def test_an_argument_is_taken_up_to_its_bound_and_refused_beyond(make, taken, refused, said):
    for value in taken:
        assert make(value) is not None
    for value in refused:
        with pytest.raises(ValueError, match=f"^{said} "):
            make(value)


@pytest.mark.parametrize("missing", [(), ("epsilon", "rate"), tuple(PLAN)])
def test_a_plan_leaves_out_exactly_one(missing):
    left = f"left out: {', '.join(missing) or 'none'}"
    with pytest.raises(ValueError, match=f"leave out exactly one of epsilon, delta, rounds, .*; {left}$"):
        solve(**{**PLAN, **dict.fromkeys(missing)})


def test_a_calibration_takes_a_function_to_a_private_strategy_with_a_budget():
    for wrong, said in (
        (lambda z: 3, "what make gives is 3; it must be a Strategy, such as dp_fedavg"),
        (lambda z: fedavg(), "has no epsilon to keep; give it one"),
        (lambda z: dp_fedavg(0.5, z, 1e-3), "has no epsilon to keep; give it one"),
    ):
        with pytest.raises(ValueError, match=said):
            calibrated(wrong, 1)
    with pytest.raises(ValueError, match="make is 3; it must be a function from a noise multiplier"):
        calibrated(3, 1)


@pytest.mark.parametrize(
    ("fields", "said"),
    [({}, "kind is ''"), ({"kind": "x"}, "kind is 'x'"), ({"kind": "gaussian"}, "cannot be read: .*missing"),
     ({"kind": "gaussian", "noise_multiplier": 1.0, "x": 1}, "cannot be read: .*unexpected"),
     ({"kind": "cyclic", "groups": 1, "round": 1, "event": {"kind": "x"}}, "kind is 'x'")],
)  # fmt: skip
def test_fields_that_are_no_event_are_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        from_json(fields)
    for event in (
        ONE,
        Skellam(2, 1.0, 3.0),
        PoissonSampled(0.5, ONE),
        Cyclic(ONE, 2, 3),
        Cyclic(Skellam(2, 1.0, 3.0), 2, 3),
    ):
        assert from_json(to_json(event)) == event


@pytest.mark.parametrize("make", [clip, adaptive_clip, lambda norm: randomized_round(0.25, norm)])
def test_what_is_not_finite_is_not_sent(make):
    step = make(1.0)
    with pytest.raises(ValueError, match=r"1 of 2 values are not finite.*position 1"):
        step.encode(Payload({"values": np.array([0, np.nan], np.float32)}), {}, context_for(2))
    assert step.encode(Payload({"values": np.zeros(2, np.float32)}), {}, context_for(2))[
        0
    ].values.tolist() == [0, 0]


def test_a_norm_may_exceed_its_bound_by_a_millionth_before_it_is_rounded():
    for length, taken in ((1 + 0.9e-6, True), (1 + 1.2e-6, False)):
        x, step = np.array([length], np.float32), randomized_round(2.0**-10, 1.0)
        if taken:
            assert step.encode(Payload({"values": x}), {}, context_for(1))[0].values.tolist() == [1024]
        else:
            with pytest.raises(ValueError, match=r"the norm is 1; put clip\(1.0\) before it"):
                step.encode(Payload({"values": x}), {}, context_for(1))


def test_a_client_has_a_noise_of_four_units_at_least():
    payload = Payload({"values": np.zeros(1, np.int32)})
    for multiplier, taken in ((3.01, True), (2.99, False)):
        step = distributed_noise(multiplier / rounded_norm(1.0, 1), 1.0, 1.0, 1)
        if taken:
            assert len(step.encode(payload, {}, context_for(1))[0].values) == 1
        else:
            with pytest.raises(ValueError, match="a client's noise is 3 units, and must be 4 or more"):
                step.encode(payload, {}, context_for(1))


@pytest.mark.parametrize("make", [distributed_noise, skellam_noise])
def test_whole_numbers_longer_than_what_the_noise_is_measured_for_get_none(make):
    step, bound = make(9.0, 10.0, 1.0, 1), rounded_norm(10.0, 1)
    assert 10 < bound < 11
    for value, taken in ((int(bound), True), (int(bound) + 1, False)):
        payload = Payload({"values": np.array([value], np.int32)})
        if taken:
            assert step.encode(payload, {}, context_for(1))[0].values.dtype == np.int16
        else:
            with pytest.raises(ValueError, match="put a randomized_round"):
                step.encode(payload, {}, context_for(1))


def release(norm: float, multiplier: float = 1.0, clients: int = 64) -> NoisyAggregation:
    return NoisyAggregation(ServerClip(lambda state: norm), Noise(multiplier), 4.0, clients)


def test_a_norm_is_as_large_as_the_largest_cohort_allows_and_no_larger():
    largest = release(1.0).largest_norm
    assert largest == 2.0**20
    release(largest).refuse_overflow()
    with pytest.raises(
        ValueError, match=r"at most 1\.04858e\+06 is allowed where a cohort may have 64 clients"
    ):
        release(math.nextafter(largest, math.inf)).refuse_overflow()
    assert release(2 * largest).norm({}) == largest


def test_noise_is_as_large_as_a_double_counts_exactly_and_no_larger():
    one = release(1.0)
    per_unit = one.sigma(1.0, 4)
    for multiplier, taken in (
        (0.999 * LARGEST_SIGMA / per_unit, True),
        (1.001 * LARGEST_SIGMA / per_unit, False),
    ):
        more = replace(one, noise=Noise(multiplier))
        if taken:
            assert per_unit < more.sigma(1.0, 4) <= LARGEST_SIGMA
        else:
            with pytest.raises(ValueError, match="at most 65536 is allowed: take a smaller clip norm"):
                more.sigma(1.0, 4)
    assert UNIT * LARGEST_SIGMA == 65_536


def test_private_strategies_know_how_many_clients_may_come():
    assert dp_fedavg(0.5, 1.0, sampling=poisson(3, population=9)).release.most_clients == 9
