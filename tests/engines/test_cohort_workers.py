"""The cohort trainer behind the grid: the number of workers never shows, and a run keeps its choice."""

import json
import os
import signal
import sys

import numpy as np
import pytest
from torch import nn

import hedgerow as hr
from hedgerow import rng
from hedgerow.client.cohort import CohortTrainer
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.types import LocalTraining, Samples

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")


def task():
    return hr.Task(lambda: nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3)))


def samples(number: int) -> Samples:
    """From 1 to 40 samples."""
    random = rng.generator(0, "samples", client=str(number))
    n = int(random.integers(1, 41))
    x = random.normal(number % 3, 1, size=(n, 12)).astype(np.float32)
    return Samples(x, random.integers(0, 3, size=n))


def run(trainer=None, *, workers=1, start_method=None, **options):
    clients = hr.from_function(60, samples)
    strategy = hr.fedavg(
        pipeline=hr.parse_pipeline("chain(weight_by_examples(), error_feedback(top_k(0.2), quantize(8)))"),
        sampling=hr.uniform(40),
        local=LocalTraining(learning_rate=0.05, momentum=0.9, epochs=2, batch_size=8),
    )
    trainer = trainer or CohortTrainer(task(), mode="batch", batch_clients=6)
    if start_method is None:
        return list(hr.simulate(trainer, clients, strategy, rounds=4, workers=workers, **options))
    app = hr.client_app(trainer, clients, strategy)
    with InProcessGrid(app, 60, names=clients.names, workers=workers, start_method=start_method) as grid:
        state = hr.begin(strategy, trainer.initial(0), trainer.layout)
        return list(hr.rounds(grid, strategy, state, trainer.layout, num_rounds=4))


def models(results):
    assert all(len(result.cohort) == 40 and not result.dropped for result in results)
    return [result.state.model.parameters.tobytes() for result in results]


@pytest.fixture(scope="module")
def alone():
    return models(run())


@pytest.mark.parametrize("workers", [2, 4])
def test_the_number_of_workers_never_shows(alone, workers):
    assert models(run(workers=workers)) == alone


def test_spawned_workers_give_the_same(alone):
    assert models(run(workers=2, start_method="spawn")) == alone


def test_a_killed_worker_changes_nothing(alone, tmp_path):
    class Killed(CohortTrainer):
        def fit_many(self, model, clients, local, *, seed, round):
            for number, item in enumerate(super().fit_many(model, clients, local, seed=seed, round=round)):
                if round == 2 and number == 3 and not (tmp_path / "killed").exists():
                    (tmp_path / "killed").touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                yield item

    assert models(run(Killed(task(), mode="batch", batch_clients=6), workers=2)) == alone
    assert (tmp_path / "killed").exists()


def test_loop_and_batch_agree(alone):
    loop = run(hr.TorchTrainer(task()))
    # After one round; later, which value is among the largest may turn on a rounding.
    first = np.frombuffer(alone[0], np.float32)
    np.testing.assert_allclose(first, loop[0].state.model.parameters, atol=2e-4)
    assert models(loop) != alone


def test_what_is_chosen_is_chosen_once_before_there_are_workers():
    trainer = CohortTrainer(task())
    results = run(trainer, workers=2)
    assert trainer.choice is not None
    assert trainer.choice.milliseconds
    assert models(run(CohortTrainer(task(), choice=trainer.choice))) == models(results)


def test_a_run_in_a_folder_keeps_what_was_chosen(tmp_path):
    clients, strategy = hr.from_function(60, samples), hr.fedavg(sampling=hr.uniform(40))

    def go_on(rounds):
        return list(
            hr.simulate(task(), clients, strategy, rounds=rounds, trainer="auto", folder=tmp_path, workers=2)
        )

    go_on(2)
    choice = json.loads((tmp_path / "trainer.json").read_text())
    assert choice["method"] in ("loop", "batch")
    # As if it had been measured elsewhere.
    (tmp_path / "trainer.json").write_text(
        json.dumps({**choice, "method": "batch", "at_once": 5, "narrowest": 2})
    )
    (tmp_path / "model.safetensors").unlink()
    resumed = go_on(4)
    assert [result.round for result in resumed] == [3, 4]
    assert json.loads((tmp_path / "trainer.json").read_text())["at_once"] == 5


def test_an_unknown_trainer_is_refused():
    with pytest.raises(ValueError, match="trainer is 'fast'"):
        next(hr.simulate(task(), hr.from_function(3, samples), hr.fedavg(), rounds=1, trainer="fast"))


def test_a_run_keeps_its_device_and_several_workers_share_none(tmp_path):
    clients, strategy = hr.from_function(12, samples), hr.fedavg(sampling=hr.uniform(6))

    def go(**options):
        return list(hr.simulate(task(), clients, strategy, rounds=1, trainer="batch", **options))

    go(folder=tmp_path, device="cpu")
    assert json.loads((tmp_path / "trainer.json").read_text())["device"] == "cpu"
    with pytest.raises(ValueError, match="a GPU belongs to one process: take workers=1"):
        go(workers=2, device="cuda")
    with pytest.raises(ValueError, match="make it with that device"):
        next(hr.simulate(hr.TorchTrainer(task()), clients, strategy, rounds=1, device="cpu"))
