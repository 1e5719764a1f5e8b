"""Simulated time is the same wherever clients run, after a kill, and under a mask."""

import pytest

import hedgerow as hr
from hedgerow.simulation.clock.availability import daily
from tests.clocks import fleet, model, run

SETTINGS = {
    "nothing": {},
    "deadline": {"timeout": 1.5},
    "dropouts": {"clock": fleet(dropout=0.4), "timeout": 30.0},
    "more": {"over_select": 0.5},
    "nights": {"clock": fleet(availability=daily(hours=3.0, spread=6.0), lost_after=5.0), "timeout": 3.0},
}
STRATEGY = hr.fedavg(
    sampling=hr.uniform(5), pipeline=hr.parse_pipeline("error_feedback(top_k(0.2))"), quorum=0.1
)


def figures(results):
    return [(r.spent, r.cohort, r.dropped, r.bytes_up, r.bytes_down, r.failed) for r in results]


@pytest.mark.parametrize("name", SETTINGS)
def test_any_number_of_workers_gives_one_run(name):
    alone = run(STRATEGY, rounds=6, **SETTINGS[name])
    several = run(STRATEGY, rounds=6, workers=2, **SETTINGS[name])
    assert figures(alone) == figures(several)
    assert model(alone) == model(several)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_run_that_was_stopped_goes_on_at_the_same_moment(tmp_path, name):
    whole = run(STRATEGY, rounds=6, folder=tmp_path / "whole", **SETTINGS[name])
    first = run(STRATEGY, rounds=3, folder=tmp_path / "half", **SETTINGS[name])
    rest = run(STRATEGY, rounds=6, folder=tmp_path / "half", **SETTINGS[name])
    assert len(rest) == 3
    assert figures(whole) == figures([*first, *rest])
    assert model(whole) == model(rest)


MASKED = hr.fedavg(
    sampling=hr.uniform(12), pipeline=hr.parse_pipeline("chain(quantize(8, range=4.0), mask(0, 0.3, 10))")
)


def test_the_stages_of_a_mask_each_take_their_time():
    summed, masked = (run(MASKED, rounds=2, masks=masks) for masks in (False, True))
    assert [r.failed for r in masked] == ["", ""]
    assert model(summed) == model(masked)
    assert masked[0].spent.seconds > summed[0].spent.seconds  # further messages, and their delays
    for name, cost in summed[0].spent.clients.items():
        assert masked[0].spent.clients[name].joules > cost.joules


def test_a_masked_round_survives_clients_that_are_lost_in_simulated_time():
    results = run(MASKED, rounds=3, masks=True, clock=fleet(dropout=0.1), timeout=60.0)
    assert any(r.dropped for r in results)
    assert any(not r.failed for r in results)
    assert all(r.spent.seconds < 5 * 60 for r in results)
