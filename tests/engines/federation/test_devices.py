"""Our own nodes, without Flower and torch, on an unmodified SuperLink: the model is that of a simulation."""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hedgerow.client.trainers import TRAINERS
from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.experiments.runs.store import RunFolder
from tests.engines.federation.devices import BARE, RECIPE, devices, write_clinics, write_plugin
from tests.engines.federation.processes import Federation, Outcome, federation
from tests.engines.stateful_run import ROOT, figures, run_config

NAMES = ("attic", "barn", "cellar")
STATEFUL = [
    "strategy.pipeline=error_feedback(top_k(0.5), quantize(8))", "evaluation.clients=all",
    "strategy.clients_per_round=2", "rounds=4", "strategy.downlink=error_feedback(top_k(0.3))",
]  # fmt: skip
MASKED = [
    "rounds=2", "strategy.name=secure_fedavg", "strategy.min_clients=3", "strategy.dropout=0.0",
    "strategy.downlink=eden(4)",
]  # fmt: skip


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A trainer that is installed here and on every device."""
    folder = write_plugin(tmp_path_factory.mktemp("plugin"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        patch.setattr(sys, "path", [str(folder), *sys.path])
        TRAINERS.__dict__.pop("_plugins", None)
        yield folder
    TRAINERS.__dict__.pop("_plugins", None)


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory, plugin: Path) -> Iterator[Federation]:
    """A SuperLink alone."""
    with federation(tmp_path_factory.mktemp("link"), nodes=0) as running:
        yield running


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, plugin: Path) -> str:
    """A path on which neither Flower nor torch can be imported."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "sitecustomize.py").write_text(BARE)
    return os.pathsep.join([str(folder), str(plugin), str(ROOT)])


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    file = tmp_path / "clinics.toml"
    file.write_text(RECIPE)
    return str(file)


def simulated(recipe: str, overrides: list[str], files: list[Path], folder: Path) -> RunFolder:
    return run_experiment(load(recipe, [*overrides, f"data.files={[str(file) for file in files]}"]), folder)


def serve(link: Federation, tmp_path: Path, recipe: str, overrides: list[str]) -> tuple[Outcome, RunFolder]:
    outcome = link.run(ROOT, run_config(tmp_path / "served", recipe, overrides), timeout_seconds=120)
    assert outcome.status == "completed", outcome.log
    return outcome, RunFolder(tmp_path / "served")


@pytest.mark.slow
def test_a_device_that_is_killed_in_a_round_comes_back_and_the_model_is_that_of_a_simulation(
    link, bare, recipe, tmp_path, capsys
):
    files, fail = write_clinics(tmp_path, NAMES), tmp_path / "fail"
    expected = simulated(recipe, STATEFUL, files, tmp_path / "simulated")
    cohorts = [sorted(line["clients"]) for line in expected.rounds() if line["round"]]
    fail.write_text(f"{cohorts[1][0]} 2")
    with devices(link, tmp_path, files, bare, FAIL_ONCE=str(fail)) as running:
        at_rest = max(device.megabytes() for device in running)
        doomed = running[NAMES.index(cohorts[1][0])]

        def restart() -> None:
            doomed.process.wait(100)
            doomed.start()

        helper = threading.Thread(target=restart)
        helper.start()
        outcome, served = serve(link, tmp_path, recipe, STATEFUL)
        helper.join(100)
        assert not fail.exists()
        assert served.model.read_bytes() == expected.model.read_bytes(), outcome.log
        assert figures(served) == figures(expected)
        with capsys.disabled():
            print(f"\na device without torch, before its first training: {at_rest:.1f} MB (PSS)")
        assert at_rest < 80, "it was 31 MB when this was written, and 40 are promised"
        assert [device.end() for device in running] == [0, 0, 0]
        for device in running:
            left = (device.folder / "answers.jsonl").read_text()
            assert '"kind": "train"' in left
            assert not list((device.folder / "outbox" / "pending").iterdir())


@pytest.mark.slow
def test_a_masked_round_of_devices_gives_the_model_of_a_simulation(link, bare, recipe, tmp_path):
    files = write_clinics(tmp_path, NAMES)
    expected = simulated(recipe, MASKED, files, tmp_path / "simulated")
    with devices(link, tmp_path, files, bare) as running:
        outcome, served = serve(link, tmp_path, recipe, MASKED)
        assert [device.end() for device in running] == [0, 0, 0]
        for device in running:
            assert "left" in device.leave()
            assert not device.folder.exists()
        assert link.nodes_online() == 0
    assert [line["secure"] for line in served.rounds()] == ["masked"] * 2
    assert served.model.read_bytes() == expected.model.read_bytes(), outcome.log


@pytest.mark.slow
def test_devices_with_torch_train_what_a_simulation_trains(link, plugin, recipe, tmp_path):
    files, overrides = write_clinics(tmp_path, NAMES), ["rounds=1", "run.trainer=loop"]
    expected = simulated(recipe, overrides, files, tmp_path / "simulated")
    with devices(link, tmp_path, files, os.pathsep.join([str(plugin), str(ROOT)])):
        outcome, served = serve(link, tmp_path, recipe, overrides)
    assert served.model.read_bytes() == expected.model.read_bytes(), outcome.log
