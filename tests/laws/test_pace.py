"""A device with a time budget takes as many whole steps as fit, and learns how many those are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hedgerow as hr
from hedgerow.client.pace import Clock, Pace, Place
from hedgerow.types import Fit
from tests.support import MeanTrainer, clients

SAMPLES, MOST = 1000, 100
NOTHING = Fit(np.zeros(1, np.float32), np.zeros(0, np.float32), SAMPLES, {"loss": 1.0})


def local(budget):
    return hr.LocalTraining(batch_size=10, time_budget=budget)


class Device:
    """Takes `overhead` seconds for a fit and `step` for each of its steps, by its own clock."""

    def __init__(self, step, overhead=0.0):
        self.step, self.overhead, self.now, self.asked = step, overhead, 0.0, []

    def train(self, limit):
        self.asked.append(limit)
        self.now += self.overhead + self.step * limit
        return NOTHING

    def rounds(self, budget, number, kept=None):
        """The steps and the seconds of each round."""
        found, kept = [], kept or {}
        for round in range(1, number + 1):
            pace, began = Pace(Clock(lambda: self.now), local(budget), Place(0, round, "a"), kept), self.now
            fit = pace.trained(SAMPLES, self.train)
            kept = pace.kept
            found.append((fit.steps, self.now - began))
        return found


@given(step=st.floats(1e-3, 1.0), budget=st.floats(0.1, 20.0), part=st.floats(0.0, 0.1))
def test_it_comes_to_take_about_what_fits_and_never_more(step, budget, part):
    device = Device(step, overhead=part * budget)
    *_, (steps, seconds) = device.rounds(budget, 12)
    fits = min(MOST, max(1, int((1 - part) * budget / step)))
    assert 1 <= steps <= MOST
    assert steps >= 0.8 * fits - 1
    assert steps == 1 or seconds <= 1.01 * budget


@given(step=st.floats(1e-3, 1.0), budget=st.floats(0.1, 20.0))
def test_the_first_round_with_the_steps_that_are_timed_stays_within_the_budget(step, budget):
    device = Device(step)
    ((steps, seconds),) = device.rounds(budget, 1)
    assert steps == 1 or seconds <= budget * (1 + 1e-9)
    assert len(device.asked) == 3  # one step, a few, and those that count


def test_only_the_first_round_times_steps_that_do_not_count():
    device = Device(0.1)
    device.rounds(2.0, 4)
    assert device.asked[:2] == [1, 3]
    assert device.asked[3:] == [20, 20, 20]


def test_a_device_that_becomes_slower_takes_fewer_steps_and_more_when_it_is_fast_again():
    device = Device(0.1)
    assert device.rounds(3.0, 2)[-1][0] == 30
    seen = []
    kept = {"step_seconds": np.array([0.1])}
    for step in [0.3] * 8 + [0.1] * 8:
        device.step = step
        pace = Pace(Clock(lambda: device.now), local(3.0), Place(0, 1, "a"), kept)
        seen.append(pace.trained(SAMPLES, device.train).steps)
        kept = pace.kept
    assert seen[0] == 30
    assert seen[7] == 10
    assert seen[15] in (29, 30)


def test_a_clock_that_stands_still_takes_all_steps():
    device = Device(0.0)
    assert [steps for steps, _ in device.rounds(1.0, 3)] == [MOST] * 3


def test_without_a_budget_nothing_is_timed_and_nothing_is_told():
    device = Device(0.1)
    pace = Pace(Clock(lambda: 1 / 0), hr.LocalTraining(), Place(0, 1, "a"), {})
    assert pace.trained(SAMPLES, device.train) is NOTHING
    assert (device.asked, pace.kept) == ([0], {})


class Steps(MeanTrainer):
    """Its metric says how many steps it was allowed."""

    supports = frozenset({"max_steps"})

    def fit(self, model, data, local, **options):
        fit = super().fit(model, data, local, **options)
        return Fit(fit.delta, fit.buffers, len(data), {"allowed": float(local.steps(len(data)))})


def test_a_real_client_with_a_real_clock_takes_its_steps_and_keeps_their_time(tmp_path):
    data = clients(4)
    strategy = hr.fedavg(sampling=hr.uniform(4), local=hr.LocalTraining(batch_size=1, time_budget=1e-7))
    app = hr.client_app(Steps(), data, strategy, state_folder=tmp_path, guard=None)
    with hr.InProcessGrid(app, 4, names=data.names) as grid:
        state = hr.begin(strategy, Steps().initial(0), Steps().layout)
        results = list(hr.rounds(grid, strategy, state, Steps().layout, num_rounds=2))
    # No step takes less than a tenth of a microsecond, so each client took one.
    for result in results:
        assert result.metrics["allowed"] == 1.0
        assert result.steps_taken == {name: 1 / len(data.samples(name)) for name in data.names}
    assert len(list(tmp_path.rglob("2.safetensors"))) == 4


def test_simulated_clients_have_no_clock_and_need_described_devices():
    strategy = hr.fedavg(local=hr.LocalTraining(time_budget=2.0))
    with pytest.raises(ValueError, match="simulated clients have no clock: describe their devices"):
        next(hr.simulate(Steps(), clients(3), strategy, rounds=1))
