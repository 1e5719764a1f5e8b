"""Clients in worker processes: the same model, bit for bit, whatever a client does to its process."""

import resource
import sys
import threading
import time

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict

from hedgerow.client.app import client_app
from hedgerow.server.rounds import begin, rounds
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies import fedavg, parse_pipeline, uniform
from tests.engines.several_processes import *  # noqa: F403
from tests.engines.several_processes import NUMBER, Place, run
from tests.odd import BAD, Odd, Together, alike, exits, models, once, raises
from tests.support import LAYOUT, MeanTrainer, clients

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux"),
    pytest.mark.usefixtures("no_process_is_left"),
]


@pytest.fixture
def place() -> Place:
    return Place(
        {"workers": 2},
        killed="it failed: its process was killed (SIGKILL), perhaps for lack of memory",
        exited="its process ended with exit code 7",
        patience=1.5,
    )


@pytest.mark.parametrize("workers", [2, 4])
def test_the_number_of_workers_never_shows(alone, workers):
    alike(run(workers=workers), alone)


@pytest.mark.parametrize("workers", [1, 4])
def test_nor_does_it_where_clients_train_together(alone, workers):
    alike(run(Together(), workers=workers), alone)


def test_one_worker_in_a_process_of_its_own_gives_the_same(alone):
    alike(run(workers=1, client_timeout=60), alone)


def test_state_in_a_folder_gives_the_same(alone, tmp_path):
    alike(run(workers=2, state_folder=tmp_path), alone)
    assert len(list(tmp_path.iterdir())) == NUMBER


def test_spawned_workers_give_the_same(alone):
    alike(run(MeanTrainer(), workers=2, start_method="spawn"), alone)


@pytest.mark.parametrize("pipeline", ["float32()", "chain(clip(1.0), random_k(0.3), quantize(4))"])
def test_other_pipelines_give_the_same(pipeline):
    alike(run(pipeline=pipeline, workers=2), run(pipeline=pipeline))


def test_a_second_run_on_the_same_grid_starts_afresh():
    trainer, data = MeanTrainer(), clients(6)
    found = []
    for workers in (1, 2):
        strategies = [fedavg(sampling=uniform(n), pipeline=parse_pipeline("float32()")) for n in (3, 5)]
        app = client_app(trainer, data, strategies[0])
        with InProcessGrid(app, 6, names=data.names, workers=workers) as grid:
            for strategy in strategies:
                *_, last = rounds(
                    grid, strategy, begin(strategy, trainer.initial(0), trainer.layout), LAYOUT, num_rounds=2
                )
                found.append(last.state.model.parameters.tobytes())
    assert found[:2] == found[2:]
    assert found[0] != found[1]


@pytest.mark.parametrize("trainer", [Odd, Together])
def test_a_worker_that_exits_once_is_replaced_and_its_clients_run_again(alone, tmp_path, trainer):
    alike(run(trainer(once(tmp_path, exits)), workers=2), alone)
    assert (tmp_path / "once").exists()


@pytest.mark.parametrize("trainer", [Odd, Together])
def test_a_client_that_exits_each_time_fails_by_name(trainer):
    results = run(trainer(exits), workers=2)
    why = "it failed: its process ended with exit code 3"
    assert [result.dropped for result in results] == [{}, {BAD: why}, {}]
    assert not any(result.failed for result in results)
    assert models(results) == models(run(Odd(raises)))


def too_much() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**33, hard))
    try:
        np.ones(2**34, np.uint8)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize("trainer", [Odd, Together])
@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda: sys.exit(3), "SystemExit: 3"),
        (too_much, "MemoryError"),
    ],
    ids=["sys.exit", "too much memory"],
)
def test_a_client_that_fails_does_so_by_name_and_the_others_go_on(trainer, act, says, caplog):
    results = run(trainer(act), workers=2)
    assert [list(result.dropped) for result in results] == [[], [BAD], []]
    assert says in results[1].dropped[BAD]
    alike(results, run(Odd(act)))
    assert "client 3 failed" in caplog.text, "what a worker logs is logged here"


def test_garbage_from_one_client_drops_it_by_name():
    strategy, data = fedavg(sampling=uniform(6)), clients(6)
    app = client_app(MeanTrainer(), data, strategy)

    def node(message: Message, context: Context) -> Message:
        reply = app(message, context)
        if context.node_config["partition-id"] == 3:
            return Message(RecordDict({"nonsense": ConfigRecord({"a": 1})}), reply_to=message)
        return None if context.node_config["partition-id"] == 4 else reply  # type: ignore[return-value]

    with InProcessGrid(node, 6, names=data.names, workers=2) as grid:
        state = begin(strategy, MeanTrainer().initial(0), MeanTrainer().layout)
        (result,) = rounds(grid, strategy, state, LAYOUT, num_rounds=1)
    assert sorted(result.dropped) == ["client-003", "client-004"]
    assert "it must have" in result.dropped["client-003"]
    assert "returned NoneType" in result.dropped["client-004"]


def test_threads_that_a_client_leaves_behind_do_no_harm(alone):
    def leave() -> None:
        threading.Thread(target=time.sleep, args=(600,)).start()

    alike(run(Odd(leave), workers=2), alone)
