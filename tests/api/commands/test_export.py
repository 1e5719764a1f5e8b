"""`hedgerow export` writes a step that a device without torch can run, or says in a sentence why not."""

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from hedgerow import extras
from tests.api.commands.command import hedgerow
from tests.onnx_runs import run

SMALL = ["local.batch_size=4", "local.momentum=0.9"]


def test_a_recipes_step_is_written_with_a_manifest_and_runs() -> None:
    done = hedgerow("export", "heart", *SMALL, "--out", "graphs")
    assert done.exit_code == 0, done.output
    manifest = json.loads(Path("graphs/manifest.json").read_text())
    assert manifest["recipe"] == "heart"
    assert set(manifest["graphs"]) == {"train.onnx", "evaluate.onnx"}
    for name, told in manifest["graphs"].items():
        content = Path("graphs", name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == told["sha256"]
        feeds = {each["name"]: np.zeros(each["shape"], each["dtype"]) for each in told["inputs"]}
        found = run(
            content, {**feeds, "mask": np.ones(4, bool), "learning_rate": np.float32(0.1).reshape(())}
        )
        assert [{"name": n, "shape": list(v.shape), "dtype": v.dtype.name} for n, v in found.items()] == told[
            "outputs"
        ]
    assert manifest["graphs"]["train.onnx"]["local"]["momentum"] == 0.9


def test_scaffold_has_a_correction_among_the_inputs() -> None:
    done = hedgerow("export", "heart", "strategy.name=scaffold", "strategy.weighted=false", "--out", "graphs")
    assert done.exit_code == 0, done.output
    told = json.loads(Path("graphs/manifest.json").read_text())["graphs"]["train.onnx"]
    assert "correction" in [each["name"] for each in told["inputs"]]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["demo"], 2, "demo describes 8 experiments, and a graph is of one"),
        (["heart", "local.batch_size=0"], 1, "batch_size is 0"),
        (["hart"], 2, "Did you mean 'heart'?"),
    ],
)
def test_what_cannot_be_written_is_said_in_a_sentence_and_leaves_nothing(arguments, code, text) -> None:
    done = hedgerow("export", *arguments, "--out", "graphs")
    assert done.exit_code == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("graphs").exists()


def test_nothing_is_overwritten() -> None:
    Path("graphs").mkdir()
    Path("graphs/mine").write_text("precious")
    done = hedgerow("export", "heart", "--out", "graphs")
    assert done.exit_code == 2
    assert "graphs is not empty" in done.stderr


def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "onnx" else find_spec(name))
    done = hedgerow("export", "heart", "--out", "graphs")
    assert done.exit_code == 1
    assert 'onnx is not installed; install it with: pip install "hedgerow[export]"' in done.stderr
