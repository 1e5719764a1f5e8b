"""Several runs in one process, one after another, in turns and in threads: none shows in another."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from flwr.app import Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

import hedgerow as hr
from hedgerow.types import RoundResult


def network() -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.Linear(8, 3)
    )


def samples(number: int) -> hr.Samples:
    random = np.random.default_rng(number)
    return hr.Samples(random.normal(size=(12, 6)).astype(np.float32), random.integers(3, size=12))


CLIENTS = hr.from_function(6, samples)


def run(seed: int, **options) -> Iterator[RoundResult]:
    strategy = hr.fedavg(sampling=hr.uniform(3), local=hr.LocalTraining(epochs=2, batch_size=4))
    return hr.simulate(hr.Task(network), CLIENTS, strategy, rounds=6, seed=seed, test=samples(99), **options)


def models(results) -> list[bytes]:
    return [result.state.model.parameters.tobytes() for result in results]


@pytest.fixture(scope="module")
def alone() -> dict[int, list[bytes]]:
    return {seed: models(run(seed)) for seed in (1, 2)}


def nothing_of_a_run_is_left() -> bool:
    with pytest.raises(RuntimeError, match="is not set"):
        Message(RecordDict(), 7, "train")
    return TaskIdentity.__dict__["_run_id"] is None


@pytest.mark.parametrize("workers", [1, 2])
def test_after_a_run_that_raised_and_is_still_referred_to_the_next_one_works(alone, workers) -> None:
    def fails() -> None:
        for result in run(1, workers=workers):
            raise KeyError(result.round)

    with pytest.raises(KeyError) as kept:  # as IPython keeps the last traceback, and all that it refers to
        fails()
    assert kept.traceback
    assert nothing_of_a_run_is_left()
    assert models(run(2, workers=workers)) == alone[2]


def test_between_rounds_nothing_belongs_to_the_whole_process() -> None:
    for _ in run(1):
        assert nothing_of_a_run_is_left()


@pytest.mark.parametrize("workers", [1, 2])
def test_two_runs_in_turns_give_what_each_gives_alone(alone, workers) -> None:
    first, second = zip(*zip(run(1, workers=workers), run(2, workers=workers), strict=True), strict=True)
    assert (models(first), models(second)) == (alone[1], alone[2])


@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"trainer": "batch", "device": "cpu"}])
def test_two_runs_in_two_threads_give_what_each_gives_alone(alone, options) -> None:
    wanted = {seed: models(run(seed, **options)) for seed in (1, 2)} if "trainer" in options else alone
    found: dict[int, list[bytes]] = {}
    begin = threading.Barrier(2)

    def work(seed: int) -> None:
        begin.wait()
        found[seed] = models(run(seed, **options))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == wanted
