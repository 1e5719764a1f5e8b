"""What is not sampled costs nothing, and what is summed need not be held."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import hedgerow as hr
from hedgerow.types import ClientNames, Fit, Layout, Model, Samples

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MIB = 2**20


class Large:
    """A model of some size, learned in no time."""

    def __init__(self, dimension: int) -> None:
        self.layout = Layout.flat(dimension)

    def initial(self, seed):
        return Model(np.zeros(self.layout.dimension, np.float32))

    def fit(self, model, data, local, *, seed, round, client):
        delta = np.float32(0.1) * (data.x.mean() - model.parameters)
        return Fit(delta, np.empty(0, np.float32), len(data), {"loss": 1.0})

    def evaluate(self, model, data):
        return {}


def samples(number: int) -> Samples:
    return Samples(np.full((3, 1), number % 7, np.float32), np.zeros(3, np.int64))


def memory(field: str) -> list[int]:
    """Bytes of this process and of each of its workers: `VmRSS` now, or `VmHWM` at most so far."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    found = []
    for pid in (str(os.getpid()), *children):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        found.append(sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":")))
    return found


START = """
import sys, time
from tests.engines.test_scale import Large, hr, memory, samples
simulate = hr.simulate  # imports torch
began = time.process_time()  # the machine may be busy with others
clients = hr.from_function(int(sys.argv[1]), samples)
strategy = hr.fedavg(sampling=hr.uniform(100))
result = next(simulate(Large(1000), clients, strategy, rounds=2, workers=2))
assert len(result.cohort) == 100 and not result.dropped
print(time.process_time() - began, max(memory("VmHWM")))
"""


def test_a_million_registered_clients_start_as_a_thousand_do():
    root = Path(__file__).parents[2]
    figures = {}
    for number in (1_000, 1_000_000):
        done = subprocess.run(
            [sys.executable, "-c", START, str(number)],
            cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        figures[number] = [float(figure) for figure in done.stdout.split()]
    seconds, most = figures[1_000_000]
    assert seconds < 2
    assert most - figures[1_000][1] < 30 * MIB


class Counted(ClientNames):
    """Counts the names that are made."""

    made = 0

    def _name(self, number):
        type(self).made += 1
        return super()._name(number)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_round_looks_at_the_clients_it_samples_and_at_no_others(workers):
    asked = []

    def note(number):
        asked.append(number)
        return samples(number)

    clients = hr.from_function(100_000, note)
    object.__setattr__(clients, "names", Counted(100_000))
    Counted.made = 0
    strategy = hr.fedavg(sampling=hr.uniform(50))
    for result in hr.simulate(Large(10), clients, strategy, rounds=3, workers=workers):
        assert len(result.cohort) == 50
    assert len(asked) == (150 if workers == 1 else 0)
    # Sampled, looked up in the roster, and again by the client and its data.
    assert Counted.made <= 3 * 50 * 6


def growth_over_80_rounds(workers, dimension):
    """Bytes that the process which grew most has gained, in a run of 200 rounds."""
    clients = hr.from_function(60, samples)
    pipeline = hr.chain(hr.weight_by_examples(), hr.error_feedback(hr.top_k(0.01), hr.quantize(8)))
    strategy = hr.fedavg(sampling=hr.uniform(6), pipeline=pipeline)
    seen = {}
    for result in hr.simulate(Large(dimension), clients, strategy, rounds=200, workers=workers):
        if result.round in (120, 200):  # by then every client keeps its residuals
            seen[result.round] = memory("VmRSS")
    assert len(seen[120]) == (3 if workers == 2 else 1)
    return max(after - before for before, after in zip(seen[120], seen[200], strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_memory_is_flat_over_200_rounds(workers):
    dimension = 200_000
    # In a process of its own: what other tests left on the heap is not ours, and forks copy it by and by.
    code = f"from tests.engines.test_scale import *; print(growth_over_80_rounds({workers}, {dimension}))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 80 * dimension * 4 / 4, "less than a quarter of a model a round"


class LargeTogether(Large):
    """Trains several at once."""

    supports = frozenset({"many"})

    def fit_many(self, model, clients, local, *, seed, round):
        for name, data in clients:
            yield name, self.fit(model, data, local, seed=seed, round=round, client=name)


def memory_of_a_large_round_against_a_small_one(trainer, workers, keep):
    """How many times the memory of a round of 10 one of 400 takes; with `keep`, where replies stay."""
    from hedgerow.server.collector import Collector

    kept, add = [], Collector.add

    def adding(self, client, reply):
        kept.append(reply)
        add(self, client, reply)

    if keep:
        Collector.add = adding
    most = []
    for cohort in (10, 400):
        clients = hr.from_function(1000, samples)
        strategy = hr.fedavg(sampling=hr.uniform(cohort))
        for _ in hr.simulate(trainer(582_026), clients, strategy, rounds=1, workers=workers):
            most.append(sum(memory("VmHWM")))
    return most[1] / most[0]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("trainer", ["Large", "LargeTogether"])
def test_a_large_round_takes_hardly_more_memory_than_a_small_one(trainer, workers):
    assert in_a_process_of_its_own(trainer, workers, False) < 1.25


@pytest.mark.slow
def test_it_would_take_more_if_replies_were_kept():
    """What the test above would see: a model a client, 0.9 GiB in all."""
    assert in_a_process_of_its_own("Large", 1, True) > 2


def in_a_process_of_its_own(trainer, workers, keep):
    code = (
        "from tests.engines.test_scale import *;"
        f" print(memory_of_a_large_round_against_a_small_one({trainer}, {workers}, {keep}))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def test_a_timeout_ends_a_round_on_workers_and_names_who_was_not_asked():
    class Slow(Large):
        def fit(self, model, data, local, *, seed, round, client):
            time.sleep(0.2)
            return super().fit(model, data, local, seed=seed, round=round, client=client)

    from hedgerow.client.app import client_app
    from hedgerow.server.rounds import begin, rounds
    from hedgerow.simulation.grid import InProcessGrid

    trainer, clients = Slow(10), hr.from_function(40, samples)
    strategy = hr.fedavg(sampling=hr.uniform(40), quorum=0.01)
    for workers in (1, 2):
        app = client_app(trainer, clients, strategy)
        with InProcessGrid(app, 40, names=clients.names, workers=workers) as grid:
            state = begin(strategy, trainer.initial(0), trainer.layout)
            (result,) = rounds(grid, strategy, state, trainer.layout, num_rounds=1, timeout=0.3)
        # On a busy machine the time may be over before the first is asked.
        assert 0 < len(result.dropped) <= 40
        assert set(result.dropped.values()) == {"it did not reply in time"}
        assert len(result.bytes_up) == 40 - len(result.dropped)
