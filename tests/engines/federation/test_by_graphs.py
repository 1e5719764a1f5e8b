"""Devices without torch train by signed graphs, from own files; one that trusts another key does not."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from hedgerow.client.graph_rules import GraphRules
from hedgerow.client.policy_file import policy_text
from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.graphs.offer import Offer, read_signed
from tests.engines.federation.coordinated import Coordinated, coordinated
from tests.engines.federation.devices import BARE, OPEN, RECIPE, Running, write_clinics
from tests.engines.federation.processes import _free_ports
from tests.engines.stateful_run import ROOT

NAMES, STRANGER = ("attic", "barn"), "cellar"
OVERRIDES = [
    "rounds=2", "model.name=mlp-2nn", "model.hidden=8", "run.trainer=loop", "local.batch_size=8",
    "local.momentum=0.9", "local.learning_rate=0.05", "evaluation.clients=all",
]  # fmt: skip


def joined(real: Coordinated, home: Path, files: Sequence[Path], offer: Offer) -> list[Running]:
    """A process for each file, in which neither torch nor Flower can be imported."""
    (home / "bare").mkdir()
    (home / "bare" / "sitecustomize.py").write_text(BARE)
    path, running = os.pathsep.join([str(home / "bare"), str(ROOT)]), []
    for file in files:
        key = "0" * 64 if file.stem == STRANGER else offer.key
        policy = replace(OPEN, graphs=GraphRules(keys=(key,), in_the_clear=True))
        file.with_suffix(".policy").write_text(policy_text(policy))
        places = file, home / f"device-{file.stem}", file.with_suffix(".policy")
        running.append(Running(real.invite(file.stem), *places, path, {}))
        running[-1].start()
    return running


@pytest.mark.slow
def test_devices_without_torch_train_by_signed_graphs_what_a_simulation_trains(tmp_path):
    recipe = tmp_path / "clinics.toml"
    recipe.write_text(RECIPE)
    files = write_clinics(tmp_path, [*NAMES, STRANGER])
    known = f"data.files={[str(file) for file in files[:2]]}"
    simulated = run_experiment(load(str(recipe), [*OVERRIDES, known]), tmp_path / "simulated")
    real = Coordinated(tmp_path, str(recipe), OVERRIDES, 0)
    real.command("export", str(recipe), *OVERRIDES, "--out", "graphs", "--sign", "signing.key")
    _, offer = read_signed(tmp_path / "graphs")
    offered = [*OVERRIDES, "--graphs", "graphs"]
    with coordinated(tmp_path, str(recipe), offered, _free_ports(1)[0]) as real:
        real.start()
        real.wait_until_it_serves()
        assert f"by the graphs {offer.hash}, signed by {offer.key}" in real.said
        running = joined(real, tmp_path, files, offer)
        try:
            real.wait_for_the_end()
        finally:
            codes = [device.end() for device in running if device.process.poll() is None]
    assert codes == [0, 0, 0]
    same(real.run.model, simulated.model)
    rounds = [line for line in real.run.rounds() if line["round"]]
    told = f"rule graphs: the graphs {offer.hash[:16]}... are signed by {offer.key[:16]}..., whose key"
    for line in rounds:
        assert list(line["dropped"]) == [STRANGER]
        assert told in line["dropped"][STRANGER]
    assert told in running[2].said
    first, second = (line["clients"] for line in rounds)
    fetched = {name: first[name]["bytes_down"] - second[name]["bytes_down"] for name in first}
    assert fetched == {**dict.fromkeys(NAMES, offer.size), STRANGER: 0}, "once a device, and in the ledger"
    for name in NAMES:
        assert [file.name for file in (tmp_path / f"device-{name}" / "graphs").iterdir()] == [offer.hash]
    assert not (tmp_path / f"device-{STRANGER}" / "graphs").exists()
    nothing_has_the_key(tmp_path)


def same(found: Path, expected: Path) -> None:
    """To the accuracy of float32 in two orders of summation."""
    theirs = load_file(expected)
    assert theirs
    for name, tensor in load_file(found).items():
        np.testing.assert_allclose(tensor, theirs[name], atol=1e-5, rtol=0, err_msg=name)


def nothing_has_the_key(home: Path) -> None:
    """The key that signs is neither in the federation nor in the run."""
    secret = (home / "signing.key").read_bytes().strip()
    for folder in ("federation", "run", "graphs"):
        for file in (home / folder).rglob("*"):
            assert not file.is_file() or secret not in file.read_bytes(), file


def test_up_refuses_graphs_that_are_not_the_runs_or_that_a_device_would_refuse(tmp_path):
    from tests.api.commands.command import hedgerow
    from tests.graph_files import changed, small

    recipe = tmp_path / "clinics.toml"
    recipe.write_text(RECIPE)
    small().write(tmp_path / "others")
    changed(small(), lambda model: model.graph.node.pop(0)).write(tmp_path / "broken")
    (tmp_path / "unsigned").mkdir()
    signature = {"key": "1" * 64, "signature": "2" * 128}
    small().write(tmp_path / "unsigned")
    (tmp_path / "unsigned" / "signature.json").write_text(json.dumps(signature))
    for folder, told in (
        ("others", "batch_size is 2 in the graphs, and 10 in the run"),
        ("broken", "train.onnx: "),
        ("unsigned", "is not a signature of these graphs"),
        ("absent", "has no graphs"),
    ):
        options = ["--graphs", str(tmp_path / folder), "--federation", str(tmp_path / folder / "federation")]
        done = hedgerow("up", str(recipe), "run.trainer=loop", *options)
        assert done.exit_code == 2, done.output
        assert told in " ".join(done.stderr.split()), done.stderr
    done = hedgerow("up", str(recipe), "run.trainer=onnx", "--federation", str(tmp_path / "none"))
    assert (
        "run.trainer is 'onnx', by which devices train with graphs alone; give --graphs FOLDER" in done.stderr
    )
