# ruff: noqa: NPY002
"""What a user's code draws from the global generators follows from the seed; the caller's are left alone."""

import logging
import random
import sys

import numpy as np
import pytest
import torch
from torch import nn

import hedgerow as hr
from hedgerow import generators
from hedgerow.client.cohort import CohortTrainer
from hedgerow.client.cohort.autotune.choice import Choice
from hedgerow.datasets import Partition
from hedgerow.types import Fit, LocalTraining, Samples

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")


class OfNumpy(nn.Linear):
    """Scales its outputs by what it draws; its weights too."""

    def __init__(self):
        super().__init__(4, 3)
        with torch.no_grad():
            self.weight.copy_(torch.from_numpy(np.random.normal(size=(3, 4))))

    def forward(self, x):
        return super().forward(x) * (0.5 + np.random.random())


class OfPython(nn.Linear):
    def __init__(self):
        super().__init__(4, 3)
        nn.init.constant_(self.bias, random.gauss(0, 1))

    def forward(self, x):
        return super().forward(x) * random.uniform(0.5, 1.5)


class OfTorch(nn.Linear):
    def __init__(self):
        super().__init__(4, 3)

    def forward(self, x):
        return super().forward(x) * (0.5 + torch.rand(3))


def seldom(outputs, targets):
    """A loss that draws, and hardly shows it."""
    return nn.functional.cross_entropy(outputs, targets) * (1 + 1e-4 * random.random())


def metric(outputs, targets):
    return torch.full((len(targets),), np.random.random())


TASKS = {
    "numpy": hr.Task(OfNumpy),
    "random": hr.Task(OfPython),
    "torch": hr.Task(OfTorch),
    "loss": hr.Task(lambda: nn.Linear(4, 3), seldom),
    "metric": hr.Task(lambda: nn.Linear(4, 3), metrics={"drawn": metric}),
}


def samples(number: int) -> Samples:
    own = np.random.default_rng(number)
    return Samples(own.normal(size=(9, 4)).astype(np.float32), own.integers(0, 3, size=9))


def run(task, clients=None, **options):
    clients = clients or hr.from_function(8, samples)
    strategy = hr.fedavg(sampling=hr.uniform(6), local=LocalTraining(epochs=2, batch_size=4))
    return list(hr.simulate(task, clients, strategy, rounds=2, test=samples(99), seed=3, **options))


def numbers(results):
    return [(r.state.model.parameters.tobytes(), sorted(r.evaluation.items())) for r in results]


def elsewhere():
    """As if the process had done something else before."""
    random.seed()
    np.random.seed()
    torch.seed()


@pytest.mark.parametrize("kind", TASKS)
def test_a_task_that_draws_gives_the_same_run_each_time_and_with_any_number_of_workers(kind):
    once = numbers(run(TASKS[kind]))
    elsewhere()
    assert numbers(run(TASKS[kind])) == once
    for workers in (2, 4):
        assert numbers(run(TASKS[kind], workers=workers)) == once


@pytest.mark.parametrize("kind", ["numpy", "random", "loss"])
@pytest.mark.parametrize("trainer", ["batch", "auto"])
def test_where_clients_would_share_the_draws_they_are_trained_in_a_loop_and_it_is_said(kind, trainer, caplog):
    with caplog.at_level(logging.WARNING, "hedgerow"):
        assert numbers(run(TASKS[kind], trainer=trainer)) == numbers(run(TASKS[kind]))
    said = [r.message for r in caplog.records if "one after another" in r.message]
    assert len(said) == 1
    assert "draws from a global generator" in said[0]


@pytest.mark.parametrize("kind", ["numpy", "loss"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_choice_that_was_made_before_batches_no_draws_either(kind, workers):
    trainer = CohortTrainer(TASKS[kind], choice=Choice("batch", "", 3, 2))
    assert numbers(run(trainer, workers=workers)) == numbers(run(TASKS[kind]))


def test_dropout_has_a_form_for_many_clients_and_stays_in_a_batch():
    trainer = CohortTrainer(hr.Task(lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3))), mode="batch")
    run(trainer)
    assert trainer.choice.method == "batch"


@pytest.mark.parametrize("kind", ["numpy", "random", "torch", "metric"])
@pytest.mark.parametrize(
    "options",
    [{}, {"workers": 2}, {"trainer": "batch"}, {"trainer": "auto"}],
    ids=["loop", "workers", "batch", "auto"],
)
def test_the_callers_generators_go_on_where_they_were(kind, options):
    np.random.normal()  # half of a pair: the other half is kept
    before = generators.states()
    run(TASKS[kind], **options)
    after = generators.states()
    assert before[0] == after[0]
    assert repr(before[1]) == repr(after[1])
    assert (before[1][1] == after[1][1]).all()
    assert all(torch.equal(*pair) for pair in zip(before[2], after[2], strict=True))


class Drawn:
    """Clients whose loader draws, and keeps what it has loaded where it is asked to."""

    def __init__(self, cached):
        self.names = [f"client {k}" for k in range(8)]
        self._kept = {} if cached else None

    def samples(self, name):
        if self._kept is not None and name in self._kept:
            return self._kept[name]
        x = np.random.normal(size=(9, 4)).astype(np.float32) * random.random()
        made = Samples(x, torch.randint(3, (9,)).numpy())
        if self._kept is not None:
            self._kept[name] = made
        return made


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("options", [{"workers": 1}, {"workers": 2}, {"workers": 2, "trainer": "batch"}])
def test_a_loader_that_draws_gives_a_client_the_same_data_wherever_it_is_loaded(cached, options):
    task = hr.Task(lambda: nn.Linear(4, 3))
    trainer = {"trainer": options.get("trainer", "loop")}
    assert numbers(run(task, Drawn(cached), **options)) == numbers(run(task, Drawn(False), **trainer))


def test_that_torch_is_imported_meanwhile_is_no_draw(monkeypatch):
    with generators.undisturbed():
        with monkeypatch.context() as before:
            before.delitem(sys.modules, "torch")
            generators.mark()
        torch.default_generator.set_state(torch.Generator().get_state())
        assert not generators.drawn()
        generators.mark()
        torch.rand(1)
        assert generators.drawn()


class Guessing:
    """A trainer of the user's own, that draws."""

    def __init__(self):
        self._inner = hr.TorchTrainer(hr.Task(lambda: nn.Linear(4, 3)))
        self.layout = self._inner.layout

    def initial(self, seed):
        model = self._inner.initial(seed)
        return type(model)(model.parameters + np.float32(random.random()), model.buffers)

    def fit(self, model, data, local, *, seed, round, client):
        return Fit(np.random.normal(size=15).astype(np.float32), np.empty(0, np.float32), len(data))

    def evaluate(self, model, data):
        return {"drawn": random.random()}


def test_a_trainer_of_ones_own_that_draws_gives_the_same_run_with_any_number_of_workers():
    once = run(Guessing())
    elsewhere()
    assert numbers(run(Guessing(), workers=2)) == numbers(once)
    assert once[0].state.model.parameters.std() > 0
    first, second = (result.state.model.parameters for result in once)
    assert np.abs(second - first - first).max() > 0.1, "a round must not draw what the last one drew"


def test_a_partition_that_draws_deals_the_same_each_time():
    dataset = hr.load_dataset("heart-disease")

    def split(dataset, seed):
        order = np.random.permutation(len(dataset.train))
        return ("a", "b"), (np.sort(order[:100]), np.sort(order[100:]))

    partition = Partition("own", "own", split)
    first = dataset.split(partition, 1)
    elsewhere()
    assert np.array_equal(dataset.split(partition, 1).indices[0], first.indices[0])
    assert not np.array_equal(dataset.split(partition, 2).indices[0], first.indices[0])


def test_clients_and_rounds_draw_apart_and_numpy_and_torch_draw_other_numbers():
    seen = []

    class Looking(nn.Linear):
        def forward(self, x):
            seen.append((float(torch.rand((), dtype=torch.float64)), np.random.random(), random.random()))
            return super().forward(x)

    trainer = hr.TorchTrainer(hr.Task(lambda: Looking(4, 3)))
    model = trainer.initial(0)
    for round, client in ((1, "a"), (2, "a"), (1, "b")):
        trainer.fit(model, samples(0), LocalTraining(batch_size=0), seed=1, round=round, client=client)
    assert len({value for drawn in seen for value in drawn}) == 9


def test_a_torch_that_may_not_be_imported_has_no_generators(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert generators.torch_states() == ()
    with generators.seeded(3):
        drawn = random.random()
    with generators.seeded(3):
        assert random.random() == drawn
