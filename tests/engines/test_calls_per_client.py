"""What one client more costs a round, in calls and not in seconds; and what is done once for many of them."""

import sys
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import hedgerow as hr
from hedgerow import generators
from hedgerow.client.cohort import CohortTrainer
from hedgerow.client.cohort.autotune.choice import Choice
from hedgerow.types import LocalTraining, Samples

PACKAGE = str(Path(hr.__file__).parent)

MOST = {"batch": 82, "loop": 156}
"""Calls of our own functions."""


class Drawn:
    names = tuple(f"client {number:02d}" for number in range(64))

    def samples(self, name):
        own = np.random.default_rng(int(name[7:]))
        return Samples(own.normal(size=(20, 6)).astype(np.float32), own.integers(0, 3, 20))


def run(method, cohort, rounds=2):
    task = hr.Task(lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)))
    trainer = CohortTrainer(task, choice=Choice(method, "", cohort // 4, 2))
    strategy = hr.fedavg(sampling=hr.uniform(cohort), local=LocalTraining(batch_size=5))
    return hr.simulate(trainer, Drawn(), strategy, rounds=rounds)


def calls(method, cohort):
    """Calls of our own functions in a round: the least of three, since a slow one may be timed anew."""
    counts = []

    def count(frame, event, _):
        counts[-1] += event == "call" and frame.f_code.co_filename.startswith(PACKAGE)

    rounds = run(method, cohort, rounds=4)
    next(rounds)
    for _ in range(3):
        counts.append(0)
        sys.setprofile(count)
        try:
            next(rounds)
        finally:
            sys.setprofile(None)
    rounds.close()
    return min(counts)


@pytest.mark.parametrize("method", MOST)
def test_one_client_more_costs_few_calls(method):
    assert (calls(method, 48) - calls(method, 16)) / 32 <= MOST[method]


def test_the_generators_are_put_back_once_a_round_and_not_once_a_client(monkeypatch):
    found = []
    sound = generators.states
    monkeypatch.setattr(generators, "states", lambda: found.append(1) or sound())
    counts = []
    for cohort in (16, 48):
        rounds = run("loop", cohort)
        next(rounds)
        found.clear()
        next(rounds)
        counts.append(len(found))
        rounds.close()
    assert counts == [1, 1]


def test_samples_that_a_file_is_mapped_to_are_neither_copied_nor_read(tmp_path):
    for name, values in (("x", np.ones((5, 2), np.float32)), ("y", np.arange(5))):
        np.save(tmp_path / f"{name}.npy", values)
    x, y = (np.load(tmp_path / f"{name}.npy", mmap_mode="c") for name in ("x", "y"))
    samples = Samples(x[1:4], y[1:4])
    assert type(samples.x) is type(samples.y) is np.ndarray
    assert np.shares_memory(samples.x, x)
    assert np.shares_memory(samples.y, y)
