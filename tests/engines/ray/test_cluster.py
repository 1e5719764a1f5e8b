"""Clients on a Ray cluster of three nodes: the same model, bit for bit, whichever of them ends."""

import os
import threading
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import hedgerow as hr
from hedgerow import spans
from hedgerow.files import write_whole
from hedgerow.simulation.ray.cluster import RayCluster
from hedgerow.strategies import fedavgm, parse_pipeline, uniform
from hedgerow.types import Fit, LocalTraining, Model, Samples
from tests.engines.ray.cluster import NODES
from tests.engines.several_processes import *  # noqa: F403
from tests.engines.several_processes import NUMBER, STATEFUL, Place, run
from tests.odd import alike, claimed
from tests.support import LAYOUT, MeanTrainer, clients


@pytest.fixture
def place(cluster) -> Place:
    gone = "its process on the cluster ended"
    return Place({"cluster": cluster}, killed=gone, exited=gone, patience=3)


class Noted(MeanTrainer):
    """Writes down which process of which node trained, and takes its time."""

    def __init__(self, folder: Path) -> None:
        super().__init__(LAYOUT)
        object.__setattr__(self, "folder", folder)

    def fit(
        self, model: Model, data: Samples, local: LocalTraining, *, seed: int, round: int, client: str
    ) -> Fit:
        (self.folder / str(os.getpid())).write_text(node())
        time.sleep(0.1)
        return super().fit(model, data, local, seed=seed, round=round, client=client)


class Stuck(MeanTrainer):
    """Waits for ever at the fifth client of round 2 that a process trains on a node other than the head.

    The head waits for that, so that the others have something to do.
    """

    def __init__(self, head: str, file: Path) -> None:
        super().__init__(LAYOUT)
        object.__setattr__(self, "head", head)
        object.__setattr__(self, "file", file)

    def fit(
        self, model: Model, data: Samples, local: LocalTraining, *, seed: int, round: int, client: str
    ) -> Fit:
        if round == 2 and node():
            trained.append(client)
            if node() == self.head:
                wait_for(self.file)
            elif len(trained) == 5 and claimed(self.file.with_name("claim")):
                write_whole(self.file, node().encode())
                time.sleep(600)
        return super().fit(model, data, local, seed=seed, round=round, client=client)


trained: list[str] = []


def wait_for(file: Path) -> None:
    end = time.monotonic() + 60
    while not file.exists() and time.monotonic() < end:
        time.sleep(0.05)


def node() -> str:
    """The node that this process works on, if it is an actor's."""
    import ray

    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""


def assert_gone(processes: Iterable[int]) -> None:
    """Each has ended, or does so by and by."""
    end = time.monotonic() + 60
    while any(Path(f"/proc/{process}").exists() for process in processes) and time.monotonic() < end:
        time.sleep(0.1)
    assert not [process for process in processes if Path(f"/proc/{process}").exists()]


def test_the_model_is_the_same_on_several_nodes(alone, cluster, tmp_path):
    with spans.record() as recorded:
        alike(run(Noted(tmp_path), cluster=cluster), alone)
    places = {int(file.name): file.read_text() for file in tmp_path.iterdir()}
    assert 2 <= len(places) == len(set(places.values())) <= NODES
    assert {s.process for s in recorded if s.name == "train"} == set(places)
    assert_gone(places)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_actors_never_shows(alone, cluster, workers):
    alike(run(cluster=cluster, workers=workers), alone)


def test_nor_does_it_show_where_several_share_a_node(alone, nodes):
    alike(run(cluster=RayCluster(nodes.address, cpus=0.5), workers=6), alone)


def test_a_node_that_dies_in_the_middle_of_a_round_changes_nothing(alone, nodes, cluster, tmp_path):
    stuck = tmp_path / "stuck"

    def hunt() -> None:
        wait_for(stuck)
        nodes.remove(stuck.read_text())

    hunter = threading.Thread(target=hunt, daemon=True)
    hunter.start()
    results = run(Stuck(nodes.head, stuck), cluster=cluster)
    hunter.join(60)
    assert stuck.exists()
    nodes.wait()
    alike(results, alone)


def test_a_connection_that_was_there_stays_and_no_actor_does(alone, nodes, tmp_path):
    import ray

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(nodes.address, log_to_driver=False)
    try:
        alike(run(Noted(tmp_path), cluster=RayCluster()), alone)
        assert_gone([int(file.name) for file in tmp_path.iterdir()])
        assert ray.is_initialized()
        with pytest.raises(ValueError, match="this process is connected to Ray at"):
            run(cluster=RayCluster("127.0.0.1:1"))
    finally:
        ray.shutdown()


def test_what_clients_carry_along_is_kept_where_the_run_is_led_from(nodes, tmp_path):
    data = clients(NUMBER)
    strategy = fedavgm(pipeline=parse_pipeline(STATEFUL), sampling=uniform(NUMBER - 4))

    def model(folder: Path, rounds: int, **options: Any) -> bytes:
        for _ in hr.simulate(MeanTrainer(), data, strategy, rounds=rounds, folder=folder, **options):
            pass
        return (folder / "model.safetensors").read_bytes()

    whole = model(tmp_path / "whole", 4)
    for begun in ("begun here", "begun there"):
        on_ray = {"engine": "ray", "address": nodes.address}
        model(tmp_path / begun, 2, **(on_ray if begun == "begun there" else {}))
        (tmp_path / begun / "model.safetensors").unlink()
        assert model(tmp_path / begun, 4, **({} if begun == "begun there" else on_ray)) == whole
