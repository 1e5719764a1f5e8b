"""What holds wherever clients run in several processes: tests for each place to import.

A place says where they run, in its fixture `place`. `alone` is the same run in this process.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, MetricRecord, RecordDict

from hedgerow.client.app import client_app
from hedgerow.server.rounds import begin, rounds
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.simulation.server_app import run_server_app
from hedgerow.strategies import fedavgm, parse_pipeline, uniform
from hedgerow.types import LocalTraining, RoundResult
from tests.engines import flower_apps
from tests.odd import BAD, Odd, Together, alike, kill, models, once, raises
from tests.support import MeanTrainer, clients

STATEFUL = "chain(weight_by_examples(), error_feedback(top_k(0.2), quantize(8)))"
NUMBER = 24


@dataclass(frozen=True)
class Place:
    """Where clients run.

    Attributes:
        options: of `InProcessGrid`.
        killed: what is said of a client whose process was killed.
        exited: what is said of one whose process ended with exit code 7.
        patience: seconds that are enough for every client but one that hangs.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    killed: str = ""
    exited: str = ""
    patience: float = 0.0


def run(
    trainer: MeanTrainer | None = None,
    *,
    pipeline: str = STATEFUL,
    state_folder: Path | None = None,
    **options: Any,
) -> list[RoundResult]:
    """Three rounds of ragged clients that carry a residual along, and a server with momentum."""
    trainer, data = trainer or Odd(), clients(NUMBER)
    strategy = fedavgm(
        pipeline=parse_pipeline(pipeline), sampling=uniform(NUMBER - 4), local=LocalTraining(epochs=2),
        downlink=parse_pipeline("eden(4)"),
    )  # fmt: skip
    app = client_app(trainer, data, strategy, state_folder=state_folder)
    with InProcessGrid(app, NUMBER, names=data.names, **options) as grid:
        state = begin(strategy, trainer.initial(0), trainer.layout)
        return list(rounds(grid, strategy, state, trainer.layout, num_rounds=3))


def own_processes() -> list[str]:
    """This process's children, also those that ended and were not waited for."""
    found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    names = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in found}
    standing = (b"resource_tracker", b"multiprocessing.forkserver")
    return [pid for pid, name in names.items() if not any(each in name for each in standing)]


@pytest.fixture(scope="session")
def alone() -> list[RoundResult]:
    results = run()
    assert all(not result.dropped for result in results)
    assert BAD in results[1].cohort
    return results


def test_clients_that_train_together_give_the_same(alone, place):
    alike(run(Together(), **place.options), alone)


@pytest.mark.parametrize("trainer", [Odd, Together])
def test_a_process_that_dies_once_is_replaced_and_its_clients_run_again(alone, place, tmp_path, trainer):
    alike(run(trainer(once(tmp_path, kill)), **place.options), alone)
    assert (tmp_path / "once").exists()


@pytest.mark.parametrize("trainer", [Odd, Together])
def test_a_client_that_ends_its_process_each_time_fails_by_name(place, trainer):
    results = run(trainer(kill), **place.options)
    assert [list(result.dropped) for result in results] == [[], [BAD], []]
    assert place.killed in results[1].dropped[BAD]
    assert not any(result.failed for result in results)
    assert models(results) == models(run(Odd(raises)))


@pytest.mark.parametrize("trainer", [Odd, Together])
def test_a_client_that_hangs_is_stopped_and_fails_by_name(place, trainer):
    results = run(trainer(lambda: time.sleep(600)), **place.options, client_timeout=place.patience)
    why = f"it failed: it was stopped: it took longer than {place.patience:g} s"
    assert [result.dropped for result in results] == [{}, {BAD: why}, {}]


@pytest.mark.parametrize("trainer", [Odd, Together])
def test_a_client_that_raises_fails_by_name_and_is_logged_here(place, trainer, caplog):
    results = run(trainer(raises), **place.options)
    assert "ValueError: the sensor is unplugged" in results[1].dropped[BAD]
    alike(results, run(Odd(raises)))
    assert "client 3 failed" in caplog.text


def test_flowers_strategies_give_the_same_models(place, tmp_path):
    found = []
    for options in ({}, place.options):
        out = tmp_path / f"{len(found)}.npz"
        grid = InProcessGrid(flower_apps.client_app(), flower_apps.CLIENTS, **options)
        run_server_app(flower_apps.server_app(out), grid)
        found.append(dict(np.load(out)))
    assert sorted(found[0]) == ["fedadam", "fedavg", "krum", "unordered"]
    for name in ("fedadam", "fedavg", "krum"):
        assert found[0][name].tobytes() == found[1][name].tobytes(), name


def test_a_flower_client_that_dies_or_hangs_is_an_error_reply(place):
    def odd(message: Message, context: Context) -> Message:
        match context.node_config["partition-id"]:
            case 0:
                os._exit(7)
            case 1:
                time.sleep(600)
        return Message(RecordDict({"answer": MetricRecord({"n": 2})}), reply_to=message)

    with InProcessGrid(odd, 3, **place.options, client_timeout=2) as grid:
        ids = grid.get_node_ids()
        replies = grid.send_and_receive([Message(RecordDict(), node, "train") for node in ids])
    assert [reply.has_error() for reply in replies] == [True, True, False]
    assert place.exited in str(replies[0].error.reason)
    assert "longer than 2 s" in str(replies[1].error.reason)
    assert replies[2].content["answer"]["n"] == 2


__all__ = ["alone", *(name for name in globals() if name.startswith("test_"))]
