"""Clients on a Ray cluster of three nodes: the same model, bit for bit, whichever of them ends."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, MetricRecord, RecordDict

import hedgerow as hr
from hedgerow import spans
from hedgerow.client.app import client_app
from hedgerow.files import write_whole
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
    """Does something odd in round 2, for one client before it trains; writes down where it ran."""

    def __init__(self, odd: Callable[[], Any] = lambda: None, folder: Path | None = None) -> None:
        super().__init__(LAYOUT)
        object.__setattr__(self, "odd", odd)
        object.__setattr__(self, "folder", folder)

    def fit(
        self, model: Model, data: Samples, local: LocalTraining, *, seed: int, round: int, client: str
    ) -> Fit:
        if self.folder is not None:
            (self.folder / str(os.getpid())).write_text(node())
            time.sleep(0.1)
        if client == BAD and round == 2:
            self.odd()
        return super().fit(model, data, local, seed=seed, round=round, client=client)


class Together(Odd):
    """Trains several at once."""

    def fit_many(self, model, clients, local, *, seed, round) -> Iterator[tuple[str, Fit | Exception]]:
        for name, data in reversed(clients):
            yield name, self.fit(model, data, local, seed=seed, round=round, client=name)


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


def claimed(file: Path) -> bool:
    """Whether this is the first to ask."""
    try:
        file.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def node() -> str:
    """The node that this process works on, if it is an actor's."""
    import ray

    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def raises() -> None:
    raise ValueError("the sensor is unplugged")


def once(folder: Path) -> Callable[[], None]:
    """Kills the first process that gets there."""

    def odd() -> None:
        if claimed(folder / "once"):
            kill()

    return odd


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


@pytest.fixture
def cluster(nodes) -> RayCluster:
    return RayCluster(nodes.address)


# One model


def test_the_model_is_the_same_on_several_nodes(alone, cluster, tmp_path):
    with spans.record() as recorded:
        alike(run(Odd(folder=tmp_path), cluster=cluster), alone)
    places = {int(file.name): file.read_text() for file in tmp_path.iterdir()}
    assert 2 <= len(places) == len(set(places.values())) <= NODES
    assert {s.process for s in recorded if s.name == "train"} == set(places)
    assert_gone(places)


def assert_gone(processes: Iterable[int]) -> None:
    """Each has ended, or does so by and by."""
    end = time.monotonic() + 60
    while any(Path(f"/proc/{process}").exists() for process in processes) and time.monotonic() < end:
        time.sleep(0.1)
    assert not [process for process in processes if Path(f"/proc/{process}").exists()]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_actors_never_shows(alone, cluster, workers):
    alike(run(cluster=cluster, workers=workers), alone)


def test_nor_does_it_show_where_several_share_a_node(alone, nodes):
    alike(run(cluster=RayCluster(nodes.address, cpus=0.5), workers=6), alone)


def test_clients_that_train_together_give_the_same(alone, cluster):
    alike(run(Together(), cluster=cluster), alone)


# Processes and nodes that end


@pytest.mark.parametrize("trainer", [Odd, Together])
def test_an_actor_that_dies_once_is_replaced_and_its_clients_run_again(alone, cluster, tmp_path, trainer):
    alike(run(trainer(once(tmp_path)), cluster=cluster), alone)
    assert (tmp_path / "once").exists()


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


def test_a_client_that_ends_its_process_each_time_fails_by_name(cluster):
    results = run(Odd(kill), cluster=cluster)
    assert [list(result.dropped) for result in results] == [[], [BAD], []]
    assert "its process on the cluster ended" in results[1].dropped[BAD]
    without = run(Odd(raises))
    assert results[-1].state.model.parameters.tobytes() == without[-1].state.model.parameters.tobytes()


@pytest.mark.parametrize("trainer", [Odd, Together])
def test_a_client_that_hangs_is_stopped_and_fails_by_name(cluster, trainer):
    results = run(trainer(lambda: time.sleep(600)), cluster=cluster, client_timeout=1)
    assert [result.dropped for result in results] == [
        {}, {BAD: "it failed: it was stopped: it took longer than 1 s"}, {},
    ]  # fmt: skip


def test_a_client_that_raises_fails_by_name_and_is_logged_here(cluster, caplog):
    results = run(Odd(raises), cluster=cluster)
    assert "ValueError: the sensor is unplugged" in results[1].dropped[BAD]
    alike(results, run(Odd(raises)))
    assert "client 3 failed" in caplog.text


# Around a run


def test_a_connection_that_was_there_stays_and_no_actor_does(alone, nodes, tmp_path):
    import ray

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(nodes.address, log_to_driver=False)
    try:
        alike(run(Odd(folder=tmp_path), cluster=RayCluster()), alone)
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
    for place in ("begun here", "begun there"):
        on_ray = {"engine": "ray", "address": nodes.address}
        model(tmp_path / place, 2, **(on_ray if place == "begun there" else {}))
        (tmp_path / place / "model.safetensors").unlink()
        assert model(tmp_path / place, 4, **({} if place == "begun there" else on_ray)) == whole


def test_flowers_strategies_give_the_same_models(cluster, tmp_path):
    models = []
    for options in ({}, {"cluster": cluster}):
        out = tmp_path / f"{len(models)}.npz"
        grid = InProcessGrid(flower_apps.client_app(), flower_apps.CLIENTS, **options)
        run_server_app(flower_apps.server_app(out), grid)
        models.append(dict(np.load(out)))
    for name in ("fedadam", "fedavg", "krum"):
        assert models[0][name].tobytes() == models[1][name].tobytes(), name


def test_a_flower_client_that_dies_or_hangs_is_an_error_reply(cluster):
    def odd(message: Message, context: Context) -> Message:
        match context.node_config["partition-id"]:
            case 0:
                os._exit(7)
            case 1:
                time.sleep(600)
        return Message(RecordDict({"answer": MetricRecord({"n": 2})}), reply_to=message)

    with InProcessGrid(odd, 3, cluster=cluster, client_timeout=2) as grid:
        ids = grid.get_node_ids()
        replies = grid.send_and_receive([Message(RecordDict(), node, "train") for node in ids])
    assert [reply.has_error() for reply in replies] == [True, True, False]
    assert "its process on the cluster ended" in str(replies[0].error.reason)
    assert "longer than 2 s" in str(replies[1].error.reason)
    assert replies[2].content["answer"]["n"] == 2


COMMAND = [sys.executable, "-c", "from hedgerow.experiments.cli import main; main()"]
RECIPE = ["run", "heart", "rounds=2", "strategy.pipeline=error_feedback(top_k(0.1), quantize(8))", "--json"]


def test_the_command_line_gives_the_same_model_on_a_ray_of_its_own_and_leaves_nothing(tmp_path):
    outputs = []
    for options in (["--workers", "1"], ["--engine", "ray", "--workers", "2"]):
        out = tmp_path / str(len(outputs))
        command = [*COMMAND, *RECIPE, "--out", str(out), *options]
        outputs.append(subprocess.run(command, capture_output=True, text=True, timeout=900, check=True))
    models = [(tmp_path / str(number) / "model.safetensors").read_bytes() for number in (0, 1)]
    assert models[0] == models[1]
    said = [output.stderr.replace(str(tmp_path / str(n)), "") for n, output in enumerate(outputs)]
    said = [re.sub(r"[\d.,]+ clients/s(, [\d:]+ to go)?", "", text) for text in said]
    assert said[0] == said[1], "Ray is quiet"


def test_a_ray_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "hedgerow\[ray\]"'):
        run(cluster=RayCluster())


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"engine": "spark"}, ValueError, "engine is 'spark'"),
        ({"address": "auto"}, ValueError, "choose engine='ray'"),
        ({"gpus": 1}, ValueError, "choose engine='ray'"),
        ({"engine": "ray", "gpus": -1}, ValueError, "gpus is -1"),
        ({"engine": "ray", "address": "somewhere"}, ValueError, "it must be 'auto'"),
        ({"engine": "ray", "address": "127.0.0.1:1"}, ConnectionError, "no Ray cluster at 127.0.0.1:1"),
        ({"engine": "ray", "address": "ray://127.0.0.1:1"}, ConnectionError, "no Ray cluster at ray://"),
    ],
)
def test_what_cannot_be_is_refused(options, error, says):
    with pytest.raises(error, match=says):
        next(hr.simulate(MeanTrainer(), clients(3), fedavgm(), rounds=1, **options))
