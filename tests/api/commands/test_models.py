"""`promote`, `rollback`, `promoted`, `model` and `predict` on runs of this machine."""

import csv
import hashlib
import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file

from hedgerow.node.device import Device, Enrolled, default_folder
from hedgerow.node.kit import Kit
from hedgerow.promotion.candidates import candidates, content_of
from hedgerow.promotion.delivered import PATH, Delivered
from hedgerow.promotion.shelf import Shelf
from tests.api.commands.command import hedgerow
from tests.own_clinics import RECIPE, write_clinics

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("clinics")
    files = json.dumps([str(file) for file in write_clinics(home)])
    done = hedgerow("run", str(home / "clinics.toml"), f"data.files={files}", "--out", str(home / "run"))
    assert done.exit_code == 0, done.output
    return home / "run"


@pytest.fixture
def home(run: Path) -> None:
    """No model is promoted when a test begins."""
    (run / "promotions.jsonl").unlink(missing_ok=True)


def said(*arguments: object, code: int = 0) -> str:
    done = hedgerow(*map(str, arguments))
    assert done.exit_code == code, done.output
    return done.output


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "promotions.jsonl").read_text().splitlines()]


def test_a_model_is_promoted_with_its_lineage_and_taken_back(run):
    assert "no model has been promoted yet" in said("promoted", run)
    first = json.loads(said("promote", run, 2, "--json"))
    lineage = first["lineage"]
    assert (lineage["round"], lineage["clients"], lineage["trust"]) == (2, 3, "simulation")
    assert (lineage["recipe"], lineage["privacy"]) == ("clinics", {})
    assert lineage["configuration"] == hashlib.sha256((run / "config.toml").read_bytes()).hexdigest()
    assert lineage["metrics"]["clients' accuracy"] > 0.5
    assert json.loads(first["description"])["data"]["classes"] == ["no", "yes"]
    stored = run / "models" / f"{first['model']}.safetensors"
    assert hashlib.sha256(stored.read_bytes()).hexdigest() == first["model"]
    assert "round 3 of clinics" in said("promote", run)
    last = lines(run)[-1]["promoted"]["model"]
    assert load_file(run / "models" / f"{last}.safetensors")["linear.weight"].tolist() == (
        load_file(run / "model.safetensors")["linear.weight"].tolist()
    )
    assert "not private; trust: simulation" in said("promoted", run)
    assert "round 2 of clinics" in said("rollback", run)
    assert json.loads(said("promoted", run, "--json"))["standing"] == [first]
    assert "none to go back to" in said("rollback", run, code=1)
    assert [next(iter(line)) for line in lines(run)] == ["promoted", "promoted", "rolled_back_to"]


def test_a_canary_takes_what_its_clients_find_better_and_writes_down_both(run):
    assert "no promoted model to compare with" in said("promote", run, "--canary", 1, code=1)
    said("promote", run, 1)
    assert "a gain of at least 0.9 is required" in said(
        "promote", run, "--canary", 1, "--better", 0.9, code=1
    )
    found = json.loads(said("promote", run, "--canary", 0.6, "--worse", 0.5, "--metric", "loss", "--json"))
    rule = found["rule"]
    assert (rule["rule"], rule["metric"], len(rule["asked"])) == ("canary", "loss", 2)
    assert rule["gain"] > 0
    assert sorted(rule["groups"]) == rule["asked"] == rule["measured"]
    groups = run.parent / "groups.csv"
    groups.write_text("garage,north\nkitchen,north\nshed,south\n")
    said("rollback", run)
    told = said("promote", run, "--canary", 1, "--metric", "loss", "--groups", groups, "--json")
    assert sorted(json.loads(told)["rule"]["groups"]) == ["north", "south"]
    refused = lines(run)[1]["refused"]
    assert (refused["round"], refused["rule"]["better"]) == (3, 0.9)
    groups.write_text("garage,north\ngarage,south\n")
    assert "line 2" in said("promote", run, "--canary", 1, "--groups", groups, code=2)
    assert "give --canary SHARE" in said("promote", run, "--better", 0.1, code=2)


@pytest.mark.parametrize("wrong", ["9", "first", "-1"])
def test_a_round_whose_model_is_not_kept_is_refused_and_says_which_are(run, wrong):
    told = said("promote", run, "--", wrong, code=2)
    assert "of rounds 1, 2, 3" in told or "a number, 'last' or 'best'" in told
    assert not (run / "promotions.jsonl").exists()


def test_a_run_without_candidates_promotes_its_final_model_and_no_other(run, tmp_path):
    where = run.rename(run.with_name("elsewhere"))
    try:
        kept = where / "candidates"
        kept.rename(tmp_path / "candidates")
        assert "round 3" in said("promote", where)
        by_candidate = hashlib.sha256(content_of(candidates(tmp_path)[-1])).hexdigest()
        assert lines(where)[0]["promoted"]["model"] == by_candidate
        assert "of no round" in said("promote", where, 1, code=2)
        assert "no round" in said("promote", where, "best", code=2)
    finally:
        (tmp_path / "candidates").rename(where / "candidates")
        (where / "promotions.jsonl").unlink(missing_ok=True)
        where.rename(run)


def test_the_promoted_model_predicts_rows_of_which_nobody_knows_the_label(run, tmp_path):
    new, out = run.parent / "new.csv", tmp_path / "out.csv"
    said("promote", run, 1)
    assert "round 1" in said("predict", run, "--data", new, "--out", out)
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [(row["row"], row["prediction"]) for row in rows] == [("2", "yes"), ("4", "no")]
    weights = promoted_tensors(run)
    x = np.array([[3.0, 3.0], [-3.0, -1.5]])
    scores = x @ weights["linear.weight"].T + weights["linear.bias"]
    sick = 1 / (1 + np.exp(scores[:, 0] - scores[:, 1]))
    assert [float(row["probability of yes"]) for row in rows] == pytest.approx(sick.tolist(), abs=1e-5)
    labelled = said("predict", run, "--data", run.parent / "shed.csv")
    assert labelled.count("\n") >= 61
    new_without = tmp_path / "short.csv"
    new_without.write_text("age\n3\n")
    assert "no column 'pressure'" in said("predict", run, "--data", new_without, code=1)


def promoted_tensors(run: Path) -> dict[str, np.ndarray]:
    (model,) = [line["promoted"]["model"] for line in lines(run)]
    return load_file(run / "models" / f"{model}.safetensors")


def test_a_device_predicts_by_its_kit_its_folder_or_as_the_only_one_here(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    new, shelf = run.parent / "new.csv", Shelf(run)
    assert "which device or run" in said("predict", "--data", new, code=2)
    kit = Kit("0" * 16, "kitchen", "https://127.0.0.1:1")
    device = Device.make(default_folder(kit), Enrolled(kit, True, 7, "own.csv", 0.0))
    assert "has no promoted model yet" in said("predict", "--data", new, code=2)
    said("promote", run, 2)

    def asked(path: str) -> bytes:
        now = shelf.standing()[-1]
        return json.dumps(now.to_json()).encode() if path == PATH else shelf.content(now)

    assert Delivered(device.folder).fetch(asked) is not None
    by_run = said("predict", run, "--data", new)
    (tmp_path / "kitchen.kit").write_text(json.dumps({**asdict(kit), "hedgerow": "0.1"}))
    for source in ((), (device.folder,), (tmp_path / "kitchen.kit",)):
        told = said("predict", *source, "--data", new)
        assert "round 2 of clinics" in told
        assert [line for line in told.splitlines() if "," in line and "model" not in line] == [
            line for line in by_run.splitlines() if "," in line and "model" not in line
        ]


def test_a_model_is_written_to_a_file_with_its_lineage(run, tmp_path):
    said("promote", run, 2)
    for file in ("a.safetensors", "a.pt2"):
        assert "the promoted model" in said("model", run, "--to", tmp_path / file)
    with safe_open(tmp_path / "a.safetensors", framework="numpy") as stored:
        assert json.loads(stored.metadata()["hedgerow.lineage"])["lineage"]["round"] == 2
    beside = {"hedgerow.lineage.json": ""}
    program = torch.export.load(tmp_path / "a.pt2", extra_files=beside).module()
    assert json.loads(beside["hedgerow.lineage.json"])["lineage"]["round"] == 2
    weights = promoted_tensors(run)
    x = torch.randn(5, 2)
    weight, bias = (torch.from_numpy(weights[f"linear.{part}"]) for part in ("weight", "bias"))
    assert torch.equal(program(x), torch.nn.functional.linear(x, weight, bias))
    other = tmp_path / "b.safetensors"
    assert "round 3, not promoted" in said("model", run, "--to", other, "--round", "last")
    assert "must end in .safetensors or .pt2" in said("model", run, "--to", tmp_path / "a.onnx", code=2)


def test_a_private_run_says_what_its_model_has_told_and_no_canary_measures_it(tmp_path):
    private = RECIPE.partition("[evaluation]")[0]
    files = json.dumps([str(file) for file in write_clinics(tmp_path, private)])
    options = ("name=dp_fedavg", "population=3", "clip_norm=1.0", "noise_multiplier=2.0", "delta=0.01")
    chosen = [f"data.files={files}", "rounds=2", *(f"strategy.{option}" for option in options)]
    said("run", tmp_path / "clinics.toml", *chosen, "--out", tmp_path / "run")
    told = json.loads(said("promote", tmp_path / "run", "--json"))["lineage"]["privacy"]
    assert (told["delta"], told["adjacency"]) == (0.01, "zero_out")
    assert 0 < told["epsilon"] < 100
    assert "of a client at delta 0.01 (zero_out)" in said("promoted", tmp_path / "run")
    assert "evaluation by clients" in said("promote", tmp_path / "run", "--canary", 1, code=1)
