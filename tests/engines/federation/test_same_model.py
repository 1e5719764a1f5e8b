"""In real processes, with masks and without them, the model is that of a simulation, bit for bit."""

import shutil

import pytest
from typer.testing import CliRunner

from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.experiments.cli import main as cli
from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.experiments.runs.store import RunFolder
from tests.engines.federation.conftest import DEVICES
from tests.engines.stateful_run import RECIPE, ROOT, figures, run_config

MASKED = [
    "rounds=1",
    f"data.partition.clients={DEVICES}",
    f"strategy.clients_per_round={DEVICES}",
    "strategy.name=secure_fedavg",
    "strategy.min_clients=3",
    "strategy.dropout=0.0",
    "local.epochs=1",
]

TUNED = [
    "rounds=2",
    f"data.partition.clients={DEVICES}",
    "data.held_out=0.1",
    "model.name=mlp-2nn",
    "model.lora.rank=1",
    'model.lora.train=["linear"]',
    "strategy.name=fedper",
    f"strategy.clients_per_round={DEVICES}",
    "local.epochs=1",
    "evaluation.clients=all",
]


def test_what_clients_carry_along_stays_with_their_nodes(real, devices, in_process, tmp_path):
    outcome = real.run(ROOT, run_config(tmp_path / "run"))
    assert outcome.status == "completed", outcome.log
    served = RunFolder(tmp_path / "run")
    assert served.model.read_bytes() == in_process.model.read_bytes(), outcome.log
    assert figures(served) == figures(in_process)


@pytest.mark.long
def test_frozen_weights_go_to_each_device_once_and_layers_of_its_own_stay_there(real, devices, tmp_path):
    """On Flower's own nodes; on ours CI has it in tests that take less time."""
    simulated = run_experiment(load(RECIPE, TUNED), tmp_path / "simulated")
    outcome = real.run(ROOT, run_config(tmp_path / "served", RECIPE, TUNED))
    assert outcome.status == "completed", outcome.log
    served = RunFolder(tmp_path / "served")
    assert served.model.read_bytes() == simulated.model.read_bytes(), outcome.log
    assert figures(served) == figures(simulated)
    frozen = 4 * TorchTrainer(load(RECIPE, TUNED).task()).layout.constant_size
    first, second = served.rounds()
    assert DEVICES * frozen < first["bytes_down"] < (DEVICES + 1) * frozen
    assert second["bytes_down"] + second["client_evaluation"]["bytes_down"] < frozen
    for folder in devices:
        assert len(list((folder / "constants").iterdir())) == 1
        assert list((folder / "states").glob("*/1.safetensors"))


def hedgerow(*arguments: str) -> str:
    done = CliRunner().invoke(cli.app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


@pytest.mark.long
def test_with_masks_each_device_has_an_identity_of_its_own(real, devices, tmp_path):
    """On Flower's own nodes; on ours CI has it in `test_devices`, in less time."""
    simulated = run_experiment(load(RECIPE, MASKED), tmp_path / "simulated")
    register = tmp_path / "register.toml"
    names = load(RECIPE, MASKED).federation().names
    for name, folder in zip(names, devices, strict=True):  # as docs/secure-aggregation.md has it
        hedgerow("register", "add", str(register), hedgerow("enrol", name, str(folder)))
    for folder in devices:
        shutil.copy(register, folder)
    outcome = real.run(ROOT, run_config(tmp_path / "served", RECIPE, MASKED, register=register))
    assert outcome.status == "completed", outcome.log
    served = RunFolder(tmp_path / "served")
    assert served.model.read_bytes() == simulated.model.read_bytes(), outcome.log
    assert [line["secure"] for line in served.rounds()] == ["masked"]
    assert [line["secure"] for line in simulated.rounds()] == ["unmasked"]
    assert [line["metrics"] for line in served.rounds()] == [line["metrics"] for line in simulated.rounds()]
    assert all(not line["dropped"] and not line["failed"] for line in served.rounds())
