"""What holds of simulated time, energy and money, for any devices, links and sizes."""

from itertools import pairwise
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hedgerow as hr
from hedgerow.server.replies import NO_REPLY, TOO_LATE
from hedgerow.simulation.clock.availability import daily, trace
from hedgerow.simulation.clock.clock import clock
from hedgerow.simulation.clock.profiles import Link, packaged
from hedgerow.simulation.clock.trip import Trip
from hedgerow.simulation.clock.work import Work
from hedgerow.types import LocalTraining
from tests.clocks import DATA, FAR, NEAR, fleet, model, run

some = st.floats(0, 1e6)
links = st.builds(
    Link, up=st.floats(1, 1e9), down=st.floats(1, 1e9), delay=st.floats(0, 10), loss=st.floats(0, 0.9),
    duty=st.floats(0.01, 1), price=some, joules_up=some, joules_down=some, watts=some,
)  # fmt: skip
trips = st.builds(
    lambda after, **parts: Trip(**parts, lost=parts["start"] + after),
    start=some, down=st.integers(0, 10**9), training=some, watts=some, link=links,
    after=st.one_of(st.just(inf), some),
)  # fmt: skip
sizes = st.integers(0, 10**9)


@given(trips, sizes)
def test_in_a_trip_time_never_runs_backwards(trip, up):
    assert trip.start <= trip.received <= trip.trained <= trip.answered(up)
    assert trip.free(up) <= trip.answered(up)


@given(trips, sizes, sizes)
def test_more_bytes_never_arrive_earlier_nor_cost_less(trip, up, more):
    large, small = trip.answered(up + more), trip.answered(up)
    assert large >= small
    if large < inf:
        assert trip.cost(up + more).joules >= trip.cost(up).joules
        assert trip.cost(up + more).price >= trip.cost(up).price


@given(trips, sizes)
def test_energy_and_price_are_the_sums_of_their_parts_and_a_lost_client_spends_no_more(trip, up):
    found, whole = trip.cost(up), trip.watts * trip.training + trip.link.joules(trip.down, up)
    if trip.answered(up) < inf:
        assert found.joules == pytest.approx(whole)
        assert found.price == pytest.approx(trip.link.cost(trip.down, up))
    else:
        assert -1e-9 <= found.joules <= whole * (1 + 1e-9)
        assert found.price <= trip.link.cost(trip.down, up) * (1 + 1e-9)


@given(st.integers(0, 5), st.sampled_from([None, 0.2, 1.5, 30.0]), st.sampled_from([0.0, 0.4]))
@settings(max_examples=6)
def test_in_a_run_time_never_runs_backwards_and_rounds_add_up(seed, deadline, dropout):
    results = run(seed=seed, timeout=deadline, clock=fleet(dropout=dropout))
    elapsed = 0.0
    for result in results:
        spent = result.spent
        assert spent.seconds >= 0
        assert spent.elapsed == pytest.approx(elapsed + spent.seconds)
        assert sorted(spent.clients) == sorted(result.cohort)
        assert spent.joules == pytest.approx(sum(cost.joules for cost in spent.clients.values()))
        if deadline is not None:
            assert spent.seconds <= deadline * (1 + 1e-9)
        elapsed = spent.elapsed


def test_a_clock_without_a_deadline_changes_no_bit_of_the_model():
    assert model(run()) == model(run(clock=None))


@pytest.mark.parametrize("pipeline", ["float32()", "quantize(8)", "error_feedback(top_k(0.2))"])
def test_a_round_takes_as_long_as_its_slowest_client_by_the_measured_bytes(pipeline):
    strategy = hr.fedavg(sampling=hr.uniform(5), pipeline=hr.parse_pipeline(pipeline))
    (first, *_) = run(strategy, rounds=1)
    ends = []
    for name in first.cohort:
        kind, samples = fleet().kind_of(0, name), len(DATA.samples(name))
        work = kind.device.training_seconds(1e6 * samples)
        up, down = first.bytes_up[name], first.bytes_down[name]
        ends.append(kind.link.seconds_down(down) + work + kind.link.seconds_up(up))
        cost = first.spent.clients[name]
        assert cost.seconds == pytest.approx(ends[-1])
        assert cost.joules == pytest.approx(kind.device.watts * work + kind.link.joules(down, up))
        assert cost.price == pytest.approx(kind.link.cost(down, up))
    assert first.spent.seconds == pytest.approx(max(ends))


def test_a_deadline_cuts_exactly_those_whose_replies_would_arrive_later():
    (whole,) = run(rounds=1)
    moments = sorted(cost.seconds for cost in whole.spent.clients.values())
    deadline = (moments[2] + moments[3]) / 2
    (cut,) = run(rounds=1, timeout=deadline)
    late = {name for name, cost in whole.spent.clients.items() if cost.seconds > deadline}
    assert cut.dropped == dict.fromkeys(sorted(late), NO_REPLY)
    assert len(late) == 2
    assert cut.spent.seconds == pytest.approx(deadline)
    assert cut.spent.joules == pytest.approx(whole.spent.joules)  # what is late was spent all the same


def test_a_client_that_is_late_begins_the_next_round_when_it_is_done():
    everybody = hr.fedavg(sampling=hr.uniform(12))
    whole = run(everybody, rounds=1)[0].spent.clients
    deadline = sorted(cost.seconds for cost in whole.values())[-2] * 0.75
    _, second = run(everybody, rounds=2, timeout=deadline, set_aside=0)
    late = max(whole, key=lambda name: whole[name].seconds)
    assert late in second.dropped
    assert set(second.dropped) == {n for n, cost in whole.items() if cost.seconds > deadline}


def test_of_more_clients_than_needed_the_first_to_reply_count():
    everybody = run(hr.fedavg(sampling=hr.uniform(12)), rounds=1)[0].spent.clients
    (result,) = run(hr.fedavg(sampling=hr.uniform(8)), rounds=1, over_select=0.5)
    assert len(result.cohort) == 12
    fastest = sorted(everybody, key=lambda name: everybody[name].seconds)
    assert result.dropped == dict.fromkeys(sorted(fastest[8:]), TOO_LATE)
    assert result.spent.seconds == pytest.approx(everybody[fastest[7]].seconds)


def test_a_time_budget_gives_each_device_the_steps_that_fit():
    local = hr.LocalTraining(epochs=20, batch_size=2, time_budget=0.1)
    work = Work(local, 1e6, lambda name: 10)
    assert work.flops_of("a", step_seconds=0.002) == 50 * 2e6
    assert work.flops_of("a", step_seconds=0.04) == 2 * 2e6
    times = fleet().step_times(work)
    for name in DATA.names:
        kind = fleet().kind_of(3, name)
        assert times.describe(3, name) == (kind.name, kind.device.training_seconds(2e6))


@given(
    st.integers(0, 3), st.floats(0, 23), st.floats(0.5, 20), st.floats(0, 5), st.floats(0, 0.5),
    st.floats(0, 10 * 86400),
)  # fmt: skip
@settings(max_examples=60)
def test_a_period_of_a_day_ends_after_now_and_what_comes_next_begins_later(
    seed, begins, hours, spread, skips, at
):
    days = daily(begins, hours, spread, skips)
    begin, end = days.period(seed, "a", at)
    assert at < end
    assert end - begin == pytest.approx(hours * 3600)
    after, _ = days.period(seed, "a", end)
    assert after >= begin
    if begin <= at:  # asked again within a period, it is the same
        assert days.period(seed, "a", (at + end) / 2) == (begin, end)


def test_a_trace_is_followed_by_name_and_begins_again(tmp_path):
    file = tmp_path / "trace.csv"
    file.write_text("client,from,to\nclient-001,10,20\nclient-001,30,40\n")
    once, again = trace(str(file)), trace(str(file), every=100.0)
    assert [once.period(0, "client-001", at) for at in (0, 20, 40)] == [(10, 20), (30, 40), None]
    assert again.period(0, "client-001", 140) == (210, 220)
    assert again.period(0, "another", 0) == (10, 20)


def test_a_round_asks_only_who_is_there_and_waits_in_simulated_time(tmp_path):
    file = tmp_path / "trace.csv"
    rows = [f"{name},{100 * (place % 2)},{100 * (place % 2) + 80}" for place, name in enumerate(DATA.names)]
    file.write_text("\n".join(["client,from,to", *rows]))
    results = run(rounds=150, timeout=5.0, clock=fleet(availability=trace(str(file), every=200.0)))
    halves = [set(DATA.names[::2]), set(DATA.names[1::2])]
    for before, result in pairwise(results):
        began = result.spent.elapsed - result.spent.seconds
        assert began == pytest.approx(before.spent.elapsed)
        assert any(set(result.cohort) <= half for half in halves)
    assert {min(result.cohort) in halves[1] for result in results} == {True, False}
    assert max(result.spent.seconds for result in results) > 10


def test_the_kinds_of_clients_follow_from_seed_and_name_alone():
    one, other = ([fleet().kind_of(seed, name).name for name in DATA.names] for seed in (1, 2))
    assert one == [fleet(dropout=0.5).kind_of(1, name).name for name in DATA.names]
    assert one != other


def test_every_packaged_figure_has_a_source_and_a_derived_one_says_its_assumption():
    devices, found = packaged()
    assert {"pi-zero-2-w", "pi-4", "pi-5", "phone-low", "phone-middle", "phone-high", "jetson"} == set(
        devices
    )
    assert {"lora", "nb-iot", "lte", "wifi"} == set(found)
    for profile in (*devices.values(), *found.values()):
        figures = {name for name in vars(profile) if name != "sources"}
        assert set(profile.sources) == figures
        for text in profile.sources.values():
            assert len(text) > 5
            assert not text.startswith("assumption") or text.count('"') == 2


def test_a_packaged_kind_trains_and_sends_in_the_order_of_its_name():
    devices, found = packaged()
    speeds = [devices[name].gflops for name in ("pi-zero-2-w", "pi-4", "pi-5", "jetson")]
    assert speeds == sorted(speeds)
    assert [devices[f"phone-{tier}"].gflops for tier in ("low", "middle", "high")] == sorted(
        devices[f"phone-{tier}"].gflops for tier in ("low", "middle", "high")
    )
    seconds = [found[name].seconds_up(10_000) for name in ("lora", "nb-iot", "lte", "wifi")]
    assert seconds == sorted(seconds, reverse=True)


def test_the_local_training_that_is_private_counts_its_expected_samples():
    local = LocalTraining(clip_samples=1, sample_noise=1, sample_rate=0.25, sample_delta=1e-5, epochs=2)
    assert Work(local, 3.0, lambda name: 100).flops_of("a", 1.0) == 2 * 100 * 3.0


def test_own_kinds_come_before_packaged_ones():
    made = clock(("pi-4",), ("wifi",), own_links={"wifi": FAR})
    assert made.kind_of(0, "a").link == FAR
    assert made.kind_of(0, "a").link != NEAR


def test_a_round_that_is_asked_for_again_loses_others():
    strategy = hr.fedavg(sampling=hr.uniform(5), quorum=1.0)
    results = run(strategy, rounds=6, clock=fleet(dropout=0.2), retry=5)
    assert all(not result.failed for result in results)
    assert max(result.spent.seconds for result in results) > 20  # a loss is noticed after 20 s


@given(st.floats(0.05, 3.0))
@settings(max_examples=8)
def test_any_deadline_ends_an_exchange_of_messages(deadline):
    results = run(
        rounds=3, timeout=deadline, over_select=0.4, set_aside=0
    )  # one by one, for the first to count
    assert all(result.spent.seconds <= deadline * (1 + 1e-9) for result in results)
