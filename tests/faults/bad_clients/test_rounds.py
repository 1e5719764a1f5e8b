"""In a round that is summed, a bad client fails by name and the others count."""

import os
import threading
import time
from typing import Any

import numpy as np
import pytest

import hedgerow as hr
from hedgerow.client.app import client_app
from hedgerow.server.rounds import begin, rounds
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.types import Fit, RoundResult
from tests.faults.bad_clients.acts import (
    ENDS,
    FAILS,
    FAILS_ANYWHERE,
    MEMORY,
    NAMES,
    OWN_PROCESS,
    TWO_WORKERS,
    hoard,
    leaves_threads,
    limits,
    takes_all_memory_in_torch,
)
from tests.odd import BAD, Odd, Together, models, raises
from tests.support import LAYOUT, MeanTrainer, clients


def run(trainer: MeanTrainer, **options: Any) -> list[RoundResult]:
    """Three rounds of all clients, which carry a residual along."""
    data = clients(8)
    strategy = hr.fedavg(pipeline=hr.error_feedback(hr.top_k(0.2), hr.quantize(8)))
    app = client_app(trainer, data, strategy)
    with InProcessGrid(app, 8, names=data.names, **options) as grid:
        state = begin(strategy, trainer.initial(0), trainer.layout)
        return list(rounds(grid, strategy, state, LAYOUT, num_rounds=3))


@pytest.fixture(scope="module")
def without() -> list[bytes]:
    """The models where the client only raises."""
    return models(run(Odd(raises)))


@pytest.mark.parametrize(("act", "says", "options"), FAILS_ANYWHERE, ids=NAMES)
def test_it_fails_by_name_in_a_round_and_the_others_count(without, act, says, options):
    results = run(Odd(act), **options)
    assert [list(result.dropped) for result in results] == [[], [BAD], []]
    assert says in results[1].dropped[BAD]
    assert not any(result.failed for result in results)
    assert models(results) == without


@pytest.mark.slow
@pytest.mark.parametrize(("act", "says"), [*FAILS[:2], *ENDS])
def test_of_clients_that_are_trained_together_only_it_fails(without, act, says):
    results = run(Together(act), **limits(act, 2))
    assert [list(result.dropped) for result in results] == [[], [BAD], []]
    assert says in results[1].dropped[BAD]
    assert models(results) == without


@pytest.mark.slow
def test_torch_that_takes_all_memory_is_told_as_such(without):
    options = {"workers": 1, "memory_limit": MEMORY}
    results = run(Odd(takes_all_memory_in_torch), **options)
    assert "it needs more memory than the 300 MB allowed" in results[1].dropped[BAD]
    assert models(results) == without


@pytest.mark.parametrize("options", [{"workers": 1}, {"workers": 2}, OWN_PROCESS, TWO_WORKERS])
def test_threads_that_it_leaves_behind_are_named_and_change_nothing(options, caplog):
    assert models(run(Odd(leaves_threads), **options)) == models(run(MeanTrainer()))
    assert "client 3 left 2 threads behind: forgotten, busy" in caplog.text


def test_threads_left_behind_by_one_of_many_at_once_are_told_too(caplog):
    assert models(run(Together(leaves_threads), workers=2)) == models(run(MeanTrainer()))
    assert "at once left 2 threads behind: forgotten, busy" in caplog.text


@pytest.mark.parametrize("options", [{"workers": 1}, {"workers": 2}, TWO_WORKERS])
@pytest.mark.parametrize("fit", ["nonsense", None, Fit(np.full(40, np.nan, np.float32), np.empty(0), 3, {})])
def test_garbage_from_it_drops_it_by_name(without, options, fit):
    class Garbage(Odd):
        def fit(self, model, data, local, *, seed, round, client):
            good = super().fit(model, data, local, seed=seed, round=round, client=client)
            return fit if client == BAD and round == 2 else good

    results = run(Garbage(lambda: None), **options)
    assert [list(result.dropped) for result in results] == [[], [BAD], []]
    assert models(results)[:2] == without[:2]


def test_a_client_whose_neighbour_hoards_memory_is_run_again_in_a_new_process(tmp_path):
    """Three quarters of what is allowed, kept by one client; the next one needs half, and gets it."""
    steps = {"client-002": 0.75, BAD: 0.5}

    class Hoarder(MeanTrainer):
        def fit(self, model, data, local, *, seed, round, client):
            if share := steps.get(client):
                block = np.ones(int(share * MEMORY), np.uint8)
                if client == "client-002":
                    hoard.append(block)
                with (tmp_path / client).open("a") as file:
                    file.write(f"{os.getpid()}\n")
            return super().fit(model, data, local, seed=seed, round=round, client=client)

    results = run(Hoarder(), workers=1, memory_limit=MEMORY)
    assert [dict(result.dropped) for result in results] == [{}, {}, {}]
    assert models(results) == models(run(MeanTrainer()))
    of_hoarder, of_other = (set((tmp_path / name).read_text().split()) for name in ("client-002", BAD))
    assert len(of_hoarder | of_other) > 1


def test_a_client_that_was_slow_beside_threads_left_behind_has_another_go(tmp_path):
    """Only beside them it hangs: it is run again in a process without them."""

    class Crowded(MeanTrainer):
        def fit(self, model, data, local, *, seed, round, client):
            if client == "client-002" and round == 2:
                leaves_threads()
            elif client == BAD and round == 2 and any(t.name == "busy" for t in threading.enumerate()):
                (tmp_path / "slow").touch()
                time.sleep(600)
            return super().fit(model, data, local, seed=seed, round=round, client=client)

    results = run(Crowded(), workers=1, client_timeout=2.0)
    assert (tmp_path / "slow").exists()
    assert [dict(result.dropped) for result in results] == [{}, {}, {}]
    assert models(results) == models(run(MeanTrainer()))
