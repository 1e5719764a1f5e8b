"""Clients on a Ray cluster of three nodes: the same model, bit for bit, whatever happens to processes and nodes."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, MetricRecord, RecordDict

from hedgerow import spans
from hedgerow.client.app import client_app
from hedgerow.server.rounds import begin, rounds
from hedgerow.simulation.grid import InProcessGrid, run_server_app
from hedgerow.simulation.ray import RayCluster
from hedgerow.strategies import fedavgm, parse_pipeline, uniform
from hedgerow.types import Fit, LocalTraining, Model, RoundResult, Samples
from tests.engines import flower_apps
from tests.engines.ray_cluster import NODES, RayNodes, ray_nodes
from tests.support import LAYOUT, MeanTrainer, clients

STATEFUL = "chain(weight_by_examples(), error_feedback(top_k(0.2), quantize(8)))"
BAD = "client-003"
NUMBER = 24

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Ray has no clusters there"),
]


class Odd(MeanTrainer):
    """Does something odd for one client in round 2, before it trains; says where it ran."""

    def __init__(self, odd: Callable[[], Any] = lambda: None, folder: Path | None = None) -> None:
        super().__init__(LAYOUT)
        object.__setattr__(self, "odd", odd)
        object.__setattr__(self, "folder", folder)

    def fit(
        self, model: Model, data: Samples, local: LocalTraining, *, seed: int, round: int, client: str
    ) -> Fit:
        if self.folder is not None:
            (self.folder / str(os.getpid())).write_text(os.environ.get("RAY_NODE_ID", ""))
        if client == BAD and round == 2:
            self.odd()
        return super().fit(model, data, local, seed=seed, round=round, client=client)


class Together(Odd):
    """Trains several at once."""

    def fit_many(self, model, clients, local, *, seed, round) -> Iterator[tuple[str, Fit | Exception]]:
        for name, data in reversed(clients):
            yield name, self.fit(model, data, local, seed=seed, round=round, client=name)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run(trainer: MeanTrainer | None = None, *, num_rounds: int = 3, **options: Any) -> list[RoundResult]:
    """Some rounds of ragged clients that carry a residual along, and a server with momentum."""
    trainer, data = trainer or Odd(), clients(NUMBER)
    strategy = fedavgm(
        pipeline=parse_pipeline(STATEFUL), sampling=uniform(NUMBER - 4), local=LocalTraining(epochs=2)
    )
    app = client_app(trainer, data, strategy)
    with InProcessGrid(app, NUMBER, names=data.names, **options) as grid:
        state = begin(strategy, trainer.initial(0))
        return list(rounds(grid, strategy, state, trainer.layout, num_rounds=num_rounds))


def alike(results: list[RoundResult], others: list[RoundResult]) -> None:
    """Equal in all but their times."""
    assert len(results) == len(others)
    for one, other in zip(results, others, strict=True):
        assert one.state.model.parameters.tobytes() == other.state.model.parameters.tobytes()
        for name in ("cohort", "dropped", "failed", "bytes_up", "bytes_down", "metrics"):
            assert getattr(one, name) == getattr(other, name), name


@pytest.fixture(scope="module")
def alone() -> list[RoundResult]:
    """The run in this process."""
    results = run()
    assert all(not result.dropped for result in results)
    assert BAD in results[1].cohort
    return results


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    with ray_nodes() as cluster:
        yield cluster


def test_the_model_is_the_same_and_every_node_took_part(alone, nodes, tmp_path):
    with spans.record() as recorded:
        alike(run(Odd(folder=tmp_path), cluster=RayCluster(nodes.address)), alone)
    places = {int(file.name): file.read_text() for file in tmp_path.iterdir()}
    print(places, len(recorded), {s.name for s in recorded})
