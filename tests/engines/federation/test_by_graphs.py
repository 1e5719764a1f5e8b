"""Devices without torch train by signed graphs, from own files; others are refused, and the run goes on."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from safetensors.numpy import load_file

from hedgerow.client.graph_rules import GraphRules
from hedgerow.client.policy_file import policy_text
from hedgerow.client.secure.enrolment import secret_key
from hedgerow.coordinator.graphs import GraphStore
from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.config.schema import to_toml
from hedgerow.experiments.runs.graphs import remember_offer
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.experiments.runs.store import RunFolder
from hedgerow.graphs.bundle import Graphs
from hedgerow.graphs.offer import Offer, read_signed
from hedgerow.secure.primitives import Secret
from tests.engines.federation.coordinated import Coordinated, coordinated
from tests.engines.federation.devices import BARE, OPEN, RECIPE, Running, write_clinics
from tests.engines.federation.processes import _free_ports
from tests.engines.stateful_run import ROOT
from tests.graph_files import changed, small, widened

TORCH, ROOMY, SMALL, STRANGER = "mill", "attic", "barn", "cellar"
BY_GRAPHS = (ROOMY, SMALL)
MEGABYTES = 20
"""That the small one gives to a run of a graph."""

OVERRIDES = [
    "rounds=2", "model.name=mlp-2nn", "model.hidden=8", "run.trainer=loop", "local.batch_size=8",
    "local.momentum=0.9", "local.learning_rate=0.05", "strategy.clients_per_round=4", "strategy.quorum=0.2",
]  # fmt: skip


@dataclass
class Clinics:
    """A federation in which one device has torch; from three others neither it nor Flower can be imported.

    Attributes:
        offer: of the graphs that are signed by the key that two of these list.
        wide: graphs that are large, with an operator that no export writes, which two of these list by hash.
        rounds: of the run for which the first were exported.
    """

    real: Coordinated
    offer: Offer
    wide: Graphs
    running: dict[str, Running] = field(default_factory=dict)
    rounds: list[dict] = field(default_factory=list)

    def join(self, file: Path) -> None:
        policy, path = file.with_suffix(".policy"), [str(ROOT)]
        if file.stem != TORCH:
            path.insert(0, str(self.real.home / "bare"))
        policy.write_text(policy_text(replace(OPEN, graphs=self.rules(file.stem))))
        places = file, self.real.home / f"device-{file.stem}", policy
        self.running[file.stem] = Running(self.real.invite(file.stem), *places, os.pathsep.join(path), {})
        self.running[file.stem].start()

    def rules(self, name: str) -> GraphRules:
        known = GraphRules(keys=(self.offer.key,), in_the_clear=True)
        return {
            ROOMY: known,
            SMALL: replace(known, hashes=(self.wide.hash,), megabytes=MEGABYTES),
            STRANGER: replace(known, hashes=(self.wide.hash,), keys=("0" * 64,)),
            TORCH: GraphRules(),
        }[name]

    def offered(self, graphs: Graphs, secret: Secret | None = None) -> list[dict]:
        """The rounds of a run by a coordinator that looks at nothing: `up --graphs` refuses such graphs."""
        self.real.overrides = OVERRIDES
        run = RunFolder.create(self.real.home / "run", to_toml(load(self.real.recipe, OVERRIDES)))
        remember_offer(run.path, Offer.of(graphs, secret))
        GraphStore(self.real.folder).put(graphs)
        self.real.start()
        return self.ended(graphs.hash)

    def ended(self, folder: str) -> list[dict]:
        """The rounds of the run that goes on, once it has ended."""
        self.real.wait_for_the_end()
        self.real.run.path.rename(self.real.home / folder)
        return [line for line in RunFolder(self.real.home / folder).rounds() if line["round"]]


@pytest.fixture(scope="module")
def clinics(tmp_path_factory) -> Iterator[Clinics]:
    """The federation, once its first run has ended."""
    home = tmp_path_factory.mktemp("clinics")
    recipe = home / "clinics.toml"
    recipe.write_text(RECIPE)
    (home / "bare").mkdir()
    (home / "bare" / "sitecustomize.py").write_text(BARE)
    offered = [*OVERRIDES, "evaluation.clients=all", "--graphs", "graphs"]
    with coordinated(home, str(recipe), offered, _free_ports(1)[0]) as real:
        real.command("export", str(recipe), *OVERRIDES, "--out", "graphs", "--sign", "signing.key")
        graphs, offer = read_signed(home / "graphs")
        found = Clinics(real, offer, changed(graphs, forbidden))
        real.start()
        real.wait_until_it_serves()
        for file in write_clinics(home, [TORCH, *BY_GRAPHS, STRANGER]):
            found.join(file)
        try:
            found.rounds = found.ended("signed")
            yield found
        finally:
            codes = [device.end() for device in found.running.values() if device.process.poll() is None]
    assert codes == [0] * 4


def forbidden(model) -> None:
    widened(model)
    model.graph.node.append(helper.make_node("Optional", ["x"], ["y2"]))


@pytest.mark.slow
def test_devices_without_torch_train_by_signed_graphs_what_a_simulation_trains(clinics):
    home, offer = clinics.real.home, clinics.offer
    assert f"by the graphs {offer.hash}, signed by {offer.key}" in clinics.real.said
    trained = [f"data.files={[str(home / f'{name}.csv') for name in (TORCH, *BY_GRAPHS)]}"]
    simulated = run_experiment(load(clinics.real.recipe, [*OVERRIDES, *trained]), home / "simulated")
    same(home / "signed" / "model.safetensors", simulated.model)
    told = f"rule graphs: the graphs {offer.hash[:16]}... are signed by {offer.key[:16]}..., whose key"
    for line in clinics.rounds:
        assert list(line["dropped"]) == [STRANGER]
        assert told in line["dropped"][STRANGER]
    assert told in clinics.running[STRANGER].said
    first, second = (line["clients"] for line in clinics.rounds)
    fetched = {name: first[name]["bytes_down"] - second[name]["bytes_down"] for name in first}
    once = {**dict.fromkeys(first, 0), **dict.fromkeys(BY_GRAPHS, offer.size)}
    assert fetched == once, "once a device, and in the ledger"
    for name in first:
        files = [file.name for file in (home / f"device-{name}").glob("graphs/*")]
        assert files == [offer.hash] * (name in BY_GRAPHS)
    nothing_has_the_key(home)


def same(found: Path, expected: Path) -> None:
    """To the accuracy of float32 in two orders of summation."""
    theirs = load_file(expected)
    assert theirs
    for name, tensor in load_file(found).items():
        np.testing.assert_allclose(tensor, theirs[name], atol=1e-5, rtol=0, err_msg=name)


def nothing_has_the_key(home: Path) -> None:
    """The key that signs is neither in the federation nor in the run."""
    secret = (home / "signing.key").read_bytes().strip()
    for folder in ("federation", "signed", "graphs"):
        for file in (home / folder).rglob("*"):
            assert not file.is_file() or secret not in file.read_bytes(), file


@pytest.mark.slow
def test_graphs_that_are_too_large_forbidden_unsigned_or_lie_are_refused_and_the_run_goes_on(clinics):
    wide, signed = clinics.wide, read_signed(clinics.real.home / "graphs")[0]
    before = answers(clinics)
    refused(
        clinics, clinics.offered(wide),
        {
            ROOMY: f"the graphs {wide.hash[:16]}... are not signed, and their hash the device's policy",
            SMALL: rf"train.onnx: a run of it may take \d+ MB; at most {MEGABYTES} MB are allowed",
            STRANGER: "train.onnx: it uses the operator 'Optional', which is not on the list",
        },
    )  # fmt: skip
    false = changed(signed, told=lambda told: told["local"].update(momentum=0.5), embedded=False)
    lies = "train.onnx: the manifest is not the one that the graph itself holds"
    refused(
        clinics, clinics.offered(false, secret_key(clinics.real.home / "signing.key", "")),
        {ROOMY: lies, SMALL: lies, STRANGER: f"signed by {clinics.offer.key[:16]}..., whose key"},
    )  # fmt: skip
    assert answers(clinics) == before | {TORCH: before[TORCH] + 4}, "a refusal is no answer"


def refused(clinics: Clinics, rounds: list[dict], why: dict[str, str]) -> None:
    """Who refuses is dropped by name, and both sides are told the reason; the device with torch counts."""
    assert [(line["round"], line["failed"]) for line in rounds] == [(1, ""), (2, "")]
    for line in rounds:
        assert set(line["clients"]) - set(line["dropped"]) == {TORCH}
    for name, sentence in why.items():
        device = clinics.running[name]
        assert device.process.poll() is None
        assert "Traceback" not in device.said
        texts = [*(line["dropped"][name] for line in rounds), device.said, clinics.real.said]
        assert [text for text in texts if not re.search(sentence, text)] == []


def answers(clinics: Clinics) -> dict[str, int]:
    """How many updates, and models that it evaluated, have left each device."""
    files = {name: device.folder / "answers.jsonl" for name, device in clinics.running.items()}
    return {name: len(re.findall(r"train|evaluate", file.read_text())) for name, file in files.items()}


def test_up_refuses_graphs_that_are_not_the_runs_or_that_a_device_would_refuse(tmp_path):
    from tests.api.commands.command import hedgerow

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
