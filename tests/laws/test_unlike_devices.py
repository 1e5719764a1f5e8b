"""Devices that take unlike numbers of steps: FedNova is its paper's, whatever the update goes through."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hedgerow as hr
from hedgerow.server.recording import Recorder
from hedgerow.server.replay import replay
from hedgerow.strategies.streams import Totals
from hedgerow.types import Model, Samples
from tests.laws.unlike_devices import (
    BUDGET,
    LAYOUT,
    LOCAL,
    SIZES,
    STEP_SECONDS,
    Quadratic,
    clients,
    devices,
    fednova,
    steps_of,
)
from tests.support import Clients

(REACH,) = hr.fednova().streams
DATA, ALL = clients(), hr.uniform(len(SIZES))
STEPS = {f"client-{k}": steps_of(LOCAL, n, STEP_SECONDS[k]) for k, n in enumerate(SIZES)}
MASK = "mask(0.1, 0.2, 5, metrics='loss steps_taken')"
MASKED = hr.parse_pipeline(f"chain(weight_by_examples(64), quantize(16, range=2.0), {MASK})")


def run(strategy, rounds=5, data=DATA, with_devices=None, **options):
    return list(
        hr.simulate(Quadratic(), data, strategy, rounds=rounds, devices=with_devices or devices(), **options)
    )


def model(results):
    return results[-1].state.model.parameters


def test_the_devices_here_take_from_one_step_to_all():
    assert STEPS == {
        "client-0": 16, "client-1": 2, "client-2": 6, "client-3": 1, "client-4": 16, "client-5": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    "changed", [{}, {"momentum": 0.7}, {"proximal": 0.5}, {"weight_decay": 0.2}], ids=str
)
def test_fednova_is_the_papers_with_unlike_steps(changed):
    local = replace(LOCAL, **changed)
    results = run(hr.fednova(sampling=ALL, local=local))
    start = Quadratic().initial(0).parameters
    expected = fednova(DATA, local, start, 5, STEPS)
    np.testing.assert_allclose(model(results), expected, rtol=1e-5, atol=1e-5)
    assert np.abs(expected - start).max() > 0.3


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    steps=st.integers(1, 6),
    momentum=st.sampled_from([0.0, 0.5]),
    sizes=st.lists(st.integers(26, 60), min_size=2, max_size=5),
)
def test_with_equal_steps_it_is_fedavg_up_to_rounding(steps, momentum, sizes):
    local = replace(LOCAL, time_budget=0.0, max_steps=steps, momentum=momentum)
    parts = {"sampling": hr.uniform(len(sizes)), "local": local}
    nova, mean = (
        model(list(hr.simulate(Quadratic(), clients(sizes), make(**parts), rounds=3)))
        for make in (hr.fednova, hr.fedavg)
    )
    np.testing.assert_allclose(nova, mean, rtol=1e-5, atol=1e-5)


def test_a_moved_origin_moves_the_model_and_other_names_and_orders_change_nothing():
    strategy, start = hr.fednova(sampling=ALL, local=LOCAL), np.array([0.5, -1.0, 2.0], np.float32)
    before = model(run(strategy, initial=Model(start)))
    move = np.array([4.0, -8.0, 16.0], np.float32)
    moved = Clients({name: Samples(s.x + move, s.y) for name, s in DATA.by_name.items()})
    after = model(run(strategy, data=moved, initial=Model(start + move)))
    np.testing.assert_allclose(after, before + move, rtol=1e-5, atol=1e-5)
    turned = Clients({name: Samples(s.x[:, ::-1].copy(), s.y) for name, s in DATA.by_name.items()})
    assert model(run(strategy, data=turned, initial=Model(start[::-1].copy()))).tolist() == pytest.approx(
        before[::-1].tolist(), abs=1e-6
    )
    places = [3, 5, 0, 1, 4, 2]
    renamed = Clients({f"client-{k}": DATA.by_name[f"client-{place}"] for k, place in enumerate(places)})
    seconds = tuple(STEP_SECONDS[place] for place in places)
    again = model(run(strategy, data=renamed, with_devices=devices(seconds), initial=Model(start)))
    assert again.tobytes() == before.tobytes()


def test_on_quadratics_it_ends_at_the_optimum_and_fedavg_where_the_paper_says_it_does():
    # Two clients of equal weight want 0 and 1; one takes a step in a round, the other 20.
    far, rate = Samples(np.ones((1, 3)), np.zeros(1, np.int64)), 0.01
    pair = Clients({"client-0": Samples(np.zeros((1, 3)), np.zeros(1, np.int64)), "client-1": far})
    local = hr.LocalTraining(learning_rate=rate, epochs=20, batch_size=1, time_budget=BUDGET)
    parts = {"sampling": hr.uniform(2), "local": local}
    unlike = devices((1.0, 0.001))
    nova, mean = (
        model(run(make(**parts), rounds=150, data=pair, with_devices=unlike))[0]
        for make in (hr.fednova, hr.fedavg)
    )
    # Section 3.1: a client weighs as much as its steps shrink its distance, 1 - (1 - rate)^steps.
    shrunk = 1 - (1 - rate) ** 20
    assert mean == pytest.approx(shrunk / (rate + shrunk), abs=1e-3)
    assert nova == pytest.approx(shrunk / 20 / (rate + shrunk / 20), abs=1e-3)
    assert abs(mean - 0.5) > 0.44
    assert abs(nova - 0.5) < 0.03


@pytest.mark.parametrize(
    ("pipeline", "off"), [("quantize(8)", 0.02), ("error_feedback(top_k(0.4))", 0.12)], ids=str
)
def test_what_is_compressed_ends_where_the_whole_update_does(pipeline, off):
    # FedAvg would end 0.33 to 0.55 from there.
    parts = {"server_learning_rate": 0.2, "sampling": ALL, "local": LOCAL}  # residuals need small steps
    whole, small = (
        model(run(hr.fednova(**parts, pipeline=hr.parse_pipeline(sent)), rounds=120))
        for sent in ("float32()", pipeline)
    )
    np.testing.assert_allclose(small, whole, atol=off)


def test_under_a_mask_the_sums_alone_give_the_same_model_and_the_mean_share_of_steps():
    strategy = hr.fednova(sampling=ALL, local=LOCAL, pipeline=MASKED)
    masked, summed = run(strategy, rounds=2, masks=True), run(strategy, rounds=2)
    assert [r.secure for r in masked] == ["masked"] * 2
    assert not any(result.failed for result in masked)
    assert model(masked).tobytes() == model(summed).tobytes()
    start = Quadratic().initial(0).parameters
    np.testing.assert_allclose(model(masked), fednova(DATA, LOCAL, start, 2, STEPS), atol=2e-3)
    most = [4 * -(-n // 5) for n in SIZES]
    share = sum(n * STEPS[f"client-{k}"] / m for k, (n, m) in enumerate(zip(SIZES, most, strict=True)))
    assert masked[-1].metrics["steps_taken"] == pytest.approx(share / sum(SIZES), abs=1e-5)
    assert masked[-1].steps_taken == {}


def test_of_a_client_that_is_not_masked_the_share_of_its_steps_is_known():
    (result,) = run(hr.fedavg(sampling=ALL, local=LOCAL), rounds=1)
    most = {f"client-{k}": 4 * -(-n // 5) for k, n in enumerate(SIZES)}
    assert result.steps_taken == {name: STEPS[name] / most[name] for name in most}


@pytest.mark.parametrize("pipeline", [hr.float32(), MASKED], ids=["plain", "masked"])
def test_the_model_follows_from_what_was_recorded(tmp_path, pipeline):
    strategy = hr.fednova(sampling=ALL, local=LOCAL, pipeline=pipeline)
    results = run(strategy, rounds=3, folder=tmp_path, record=True)
    *_, last = replay(Recorder(tmp_path / "replies", LAYOUT, 0), strategy)
    assert last.model.parameters.tobytes() == model(results).tobytes()


def test_devices_of_changing_speed_give_one_run_with_any_workers_and_after_a_resume(tmp_path):
    unlike = devices(jitter=0.8)
    strategy = hr.fednova(sampling=hr.uniform(4), local=LOCAL)
    whole = run(strategy, rounds=5, with_devices=unlike)
    shares = [result.steps_taken for result in whole]
    assert len({taken["client-2"] for taken in shares if "client-2" in taken}) > 1
    assert model(run(strategy, rounds=5, with_devices=unlike, workers=2)).tobytes() == model(whole).tobytes()
    for rounds in (2, 5):
        later = run(strategy, rounds=rounds, with_devices=unlike, folder=tmp_path)
    assert model(later).tobytes() == model(whole).tobytes()
    assert [result.steps_taken for result in later] == shares[2:]


def test_a_run_does_not_go_on_with_other_devices(tmp_path):
    strategy = hr.fednova(sampling=ALL, local=LOCAL)
    run(strategy, rounds=1, folder=tmp_path)
    with pytest.raises(ValueError, match="the devices changed"):
        run(strategy, rounds=2, folder=tmp_path, with_devices=devices(jitter=0.1))


def test_control_variates_are_means_over_the_steps_that_were_taken():
    results = run(hr.scaffold(sampling=ALL, local=LOCAL), rounds=3)
    x, names, eta = Quadratic().initial(0).parameters.astype(np.float64), DATA.names, LOCAL.learning_rate
    own, server = {name: np.zeros(3) for name in names}, np.zeros(3)
    for _ in range(3):
        deltas, changes = [], []
        for name in names:
            y, centre = x.copy(), DATA.samples(name).x.mean(0)
            for _ in range(STEPS[name]):
                y = y - eta * (y - centre - own[name] + server)
            new = own[name] - server + (x - y) / (STEPS[name] * eta)
            deltas.append(y - x)
            changes.append(new - own[name])
            own[name] = new
        x, server = x + np.mean(deltas, axis=0), server + np.mean(changes, axis=0)
    np.testing.assert_allclose(model(results), x, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(results[-1].state.streams["control"], server, rtol=1e-4, atol=1e-5)


def test_a_fast_device_among_slow_ones_is_not_taken_for_a_broken_one():
    # It takes 200 steps where the median takes one, and its update is 87 times as large.
    local = hr.LocalTraining(learning_rate=0.01, epochs=200, batch_size=100, time_budget=BUDGET)
    slow = devices((0.001, *[1.0] * 5))
    start = Model(np.full(3, 50.0, np.float32))
    for result in run(hr.fedavg(sampling=ALL, local=local), rounds=2, with_devices=slow, initial=start):
        assert (result.dropped, result.failed) == ({}, "")


def test_no_claimed_reach_counts_beyond_that_of_the_largest_number_of_steps():
    strategy = hr.fednova(local=hr.LocalTraining(max_steps=5))
    totals = Totals(streams={"reach": np.array([1e9], np.float32)})
    after, _ = strategy.server_update.apply(np.zeros(2, np.float32), np.ones(2, np.float32), {}, totals)
    assert after.tolist() == [5.0, 5.0]


def test_with_noise_for_clients_the_clip_bounds_each_and_nothing_of_its_steps_is_told_or_kept(tmp_path):
    strategy = hr.dp_fedavg(0.5, 1.0, delta=1e-3, sampling=hr.poisson(4, population=6), local=LOCAL)
    assert not strategy.stateful
    results = run(strategy, rounds=2, folder=tmp_path)
    assert any(result.cohort for result in results)
    assert [(result.steps_taken, dict(result.metrics)) for result in results] == [({}, {})] * 2
    assert not (tmp_path / "clients").exists()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: hr.LocalTraining(
                clip_samples=1, sample_noise=1, sample_rate=0.1, sample_delta=1e-5, time_budget=2.0
            ),
            "time_budget is 2; it must be 0, for no limit, with sample_noise",
        ),
        (
            lambda: hr.LocalTraining(time_budget=-1.0),
            r"time_budget is -1\.0; it must be a number, 0 or above",
        ),
        (lambda: hr.LocalTraining(max_steps=-1), "max_steps is -1"),
        (
            lambda: hr.fednova(
                weighted=False, pipeline=hr.parse_pipeline("chain(clip(1.0), gaussian_noise(1.0))")
            ),
            "fednova does not fit here: reaches would be sent without noise.*use dp_fedavg",
        ),
        (
            lambda: replace(REACH, weighted=False),
            "'reach' declares masked=True, and under a mask there is only",
        ),
        (lambda: replace(REACH, aggregate=hr.median()), "take mean.. as its aggregate"),
        (
            lambda: replace(REACH, initial=None).first(LAYOUT),
            "the server would send 1 values with the model, which no signature covers",
        ),
        (lambda: hr.fednova(aggregate=hr.median()), "reaches are averaged.*use mean"),
    ],
)
def test_what_cannot_be_combined_is_refused_by_name(build, message):
    with pytest.raises(ValueError, match=message):
        build()
