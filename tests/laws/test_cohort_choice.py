"""The choice between loop and batch: what it is, that it is kept, and that it is no slower."""

import json
import pickle
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.client.cohort import Choice, CohortTrainer
from hedgerow.client.cohort.autotune.choice import choose
from hedgerow.client.cohort.autotune.forecast import UNLIMITED, best_plan, round_seconds
from hedgerow.client.cohort.schedule import batch_rows
from hedgerow.client.task import Task
from hedgerow.types import Fit, LocalTraining, Samples
from tests.laws.cohort_cases import OWN, SHIPPED, the_same


@pytest.mark.parametrize("name", ["mlp-2nn", "cnn-small", "transformer"])
def test_a_saved_choice_is_kept_and_gives_the_same_bits(name):
    case = {**SHIPPED, **OWN}[name]
    first = CohortTrainer(Task(case.factory))
    model, clients = first.initial(0), case.clients([20, 13, 40, 2])
    expected = dict(first.fit_many(model, clients, LocalTraining(), seed=1, round=1))
    saved = json.loads(json.dumps(first.choice.to_json()))
    restored = CohortTrainer(Task(case.factory), choice=Choice.from_json(saved))
    sent = pickle.loads(pickle.dumps(first))
    for other in (restored, sent):
        assert other.choice == first.choice
        for client, fit in other.fit_many(model, clients, LocalTraining(), seed=1, round=1):
            assert the_same(fit, expected[client])


def test_each_mode_is_what_it_says_and_a_bad_one_is_refused():
    case = SHIPPED["logistic"]
    task, clients, local = Task(case.factory), case.clients([9, 9]), LocalTraining()
    model = CohortTrainer(task).initial(0)

    def choice(**options):
        return CohortTrainer(task, **options).choose(model, clients, local, seed=1, round=1)

    assert choice(mode="loop") == Choice("loop", "asked for")
    assert (choice(mode="batch").method, choice(mode="batch").batch_clients) == ("batch", 10)
    assert choice(mode="batch", batch_clients=4).batch_clients == 4
    assert set(choice(mode="auto").milliseconds) >= {"1", "4"}
    assert choice(mode="auto", batch_clients=6).milliseconds.keys() == {"1", "6"}
    with pytest.raises(ValueError, match="Did you mean 'batch'"):
        CohortTrainer(task, mode="bach")
    with pytest.raises(ValueError, match="batch_clients is 1"):
        CohortTrainer(task, batch_clients=1)
    with pytest.raises(ValueError, match="min_batch is 5"):
        Choice("batch", "", batch_clients=4, min_batch=5)


def test_a_client_with_more_steps_than_the_choice_allows_is_trained_alone():
    case = SHIPPED["mlp-2nn"]
    trainer = CohortTrainer(Task(case.factory), choice=Choice("batch", "", 4, 2, most_steps=3))
    model, clients = trainer.initial(0), case.clients([30, 31, 5, 300])
    got = dict(trainer.fit_many(model, clients, LocalTraining(batch_size=10), seed=1, round=1))
    assert got.keys() == dict(clients).keys()
    for name, data in (clients[1], clients[3]):
        assert the_same(got[name], trainer.fit(model, data, LocalTraining(), seed=1, round=1, client=name))


@given(steps=st.lists(st.integers(1, 300), min_size=1, max_size=60))
def test_a_plan_is_no_slower_than_all_in_batches(steps):
    each = {4: 0.7, 10: 0.5, 25: 0.45}
    batch_clients, most_steps, ratio = best_plan(steps, 1.0, each)
    for number in each:
        everyone = round_seconds(steps, number, {n: n * seconds for n, seconds in each.items()})
        assert ratio * sum(steps) <= everyone + 1e-9
    assert batch_clients in each
    assert 0 < most_steps < max(steps) or most_steps == UNLIMITED


class Machine:
    """Loop and batch that take so long by width, and what else it does during one measurement of a width."""

    step = MappingProxyType({1: 400e-6, 4: 270e-6, 6: 200e-6, 10: 140e-6, 25: 90e-6, 50: 75e-6})

    def __init__(self, slow: int = 0, times: float = 1.0) -> None:
        self.now, self._slow, self._times, self._runs = 0.0, slow, times, 0

    def _trained(self, clients, local, width):
        self._runs += width == self._slow
        busy = width == self._slow and self._runs <= 2  # a measurement ends after two that are slow
        steps = sum(-(-len(data) // local.batch_size) for _, data in clients)
        self.now += steps * self.step.get(width, self.step[4]) * (self._times if busy else 1.0)
        nothing = np.zeros(1, np.float32)
        return {name: Fit(nothing, nothing, 1, {"loss": 1.0}) for name, _ in clients}

    def choice(self) -> Choice:
        data = Samples(np.zeros((50, 1), np.float32), np.zeros(50, np.int64))
        return choose(
            [("a", data)], [5] * 50, LocalTraining(batch_size=10),
            lambda clients, local: self._trained(clients, local, 1),
            lambda clients, local, width, _: self._trained(clients, local, width),
            [4, 6, 10, 25, 50], timed=True, bits=False, clock=lambda: self.now,
        )  # fmt: skip


@given(slow=st.sampled_from([6, 10, 25, 50]), times=st.floats(5.0, 20.0))
def test_one_measurement_that_something_else_slowed_down_does_not_decide(slow, times):
    assert Machine(slow, times).choice().batch_clients == Machine().choice().batch_clients == 50


@given(
    st.lists(st.integers(1, 5), min_size=36, max_size=36),
    st.lists(st.integers(60, 200), min_size=4, max_size=4),
)
def test_where_few_clients_go_on_for_long_they_are_trained_in_few_parts(short, long):
    # Each part lasts as long as its longest client, and narrow batches make many parts.
    steps = [count for part in range(4) for count in (*short[9 * part : 9 * part + 9], long[part])]
    batch_clients, _, _ = best_plan(steps, 1.7, {4: 0.85, 10: 0.84, 40: 0.83})
    assert batch_clients == 40


def test_nothing_is_decided_where_no_client_can_be_measured():
    case = SHIPPED["logistic"]
    trainer = CohortTrainer(Task(case.factory))
    model, local = trainer.initial(0), LocalTraining()
    assert list(trainer.fit_many(model, [], local, seed=1, round=1)) == []
    ((_, failed),) = trainer.fit_many(model, case.clients([0]), local, seed=1, round=1)
    assert isinstance(failed.error, ValueError)
    assert trainer.choice is None
    dict(trainer.fit_many(model, case.clients([9]), local, seed=1, round=1))
    assert trainer.choice is not None


@given(samples=st.integers(1, 3000), batch_size=st.integers(0, 400))
def test_filling_is_at_most_a_quarter_of_a_small_clients_batch(samples, batch_size):
    rows = batch_rows(samples, batch_size)
    taken = min(samples, batch_size or samples)
    assert taken <= rows <= (batch_size or rows)
    assert rows <= 1.25 * taken
