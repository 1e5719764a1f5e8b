"""`[run]` of a recipe and its options on the command line: how clients are trained, and where."""

import json
import tomllib
from pathlib import Path

import pytest

from hedgerow.experiments.cli.options import in_run
from hedgerow.experiments.config.recipe import load_sweep
from tests.api.commands.command import hedgerow

SHORT = ("heart", "rounds=2", "--workers", "1")


def run_table(folder: str) -> dict[str, object]:
    return tomllib.loads((Path(folder) / "config.toml").read_text(encoding="utf-8"))["run"]


def model(folder: str) -> bytes:
    return (Path(folder) / "model.safetensors").read_bytes()


def test_options_of_run_are_keys_of_the_recipe_and_a_resumed_run_keeps_them() -> None:
    options = ("--trainer", "batch", "--device", "cpu", "--precision", "float32")
    assert hedgerow("run", *SHORT, *options, "--out", "whole").exit_code == 0
    assert run_table("whole") == {
        "trainer": "batch",
        "device": "cpu",
        "precision": "float32",
        "record": False,
        "keep_models": 5,
    }
    assert json.loads(Path("whole/trainer.json").read_text())["method"] == "batch"

    assert hedgerow("run", "heart", "rounds=1", *options, "--out", "parts").exit_code == 0
    resumed = hedgerow("resume", "parts", "rounds=2", "--workers", "2")
    assert resumed.exit_code == 0, resumed.stderr
    assert model("parts") == model("whole")

    other = hedgerow("resume", "parts", "rounds=3", "run.trainer=loop")
    assert other.exit_code == 2
    assert 'run.trainer was "batch", is now "loop"' in other.stderr


def test_workers_of_a_recipe_are_no_part_of_what_a_run_is_and_its_precision_is() -> None:
    assert hedgerow("run", "heart", "rounds=2", "run.workers=2", "--out", "two").exit_code == 0
    again = hedgerow("run", "heart", "rounds=2", "run.workers=3", "--out", "two")
    assert again.exit_code == 0, again.stderr
    assert hedgerow("run", *SHORT, "--out", "one").exit_code == 0
    assert model("one") == model("two")
    assert run_table("one") == {
        "trainer": "loop",
        "precision": "float32",
        "record": False,
        "keep_models": 5,
    }

    low = hedgerow("run", *SHORT, "--precision", "bfloat16", "--out", "one")
    assert low.exit_code == 2
    assert 'run.precision was "float32", is now "bfloat16"' in low.stderr


WRONG = [
    ("--trainer lopp", "it must be one of 'loop', 'batch', 'auto', 'onnx'. Did you mean 'loop'?"),
    ("--precision double", "it must be one of 'float32', 'bfloat16', 'float16'"),
    ("run.workers=0", "it must be a whole number of at least 1"),
    ("--device cuda:77", "device is 'cuda:77'; torch finds 'cpu'"),
    ("--device cuda --workers 2", "a GPU belongs to one process"),
    (
        "--precision float16",
        "precision is 'float16'; on device 'cpu' it must be one of 'float32', 'bfloat16'",
    ),
    ("--trainer batch --precision bfloat16", "precision is 'bfloat16'; it must be 'float32' in a batch"),
    ("--precision bfloat16 local.clip_samples=1.0", "supports clip_samples, and TorchTrainer"),
]


@pytest.mark.parametrize(("given", "message"), WRONG)
def test_what_cannot_be_is_refused_in_a_sentence(given, message) -> None:
    result = hedgerow("run", *SHORT, *given.split())
    assert result.exit_code in (1, 2), result.stderr
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("place", "overrides"),
    [
        ("run.device", ["run.device=cuda:77"]),
        ("run.precision", ["run.precision=float16"]),
        ("strategy", ["run.precision=bfloat16", "local.clip_samples=1.0"]),
    ],
)
def test_check_tells_what_this_machine_cannot_do(place, overrides) -> None:
    result = hedgerow("check", "heart", *overrides)
    assert result.exit_code == 2
    assert place in result.stderr


@pytest.mark.parametrize(
    ("place", "recipe"),
    [
        ("local.batch_size = 0: batch_size is 0, and a graph",
         ["heart", "run.trainer=onnx", "local.batch_size=0"]),
        ("local.clip_samples = 1.0: clip_samples needs each", ["normed.toml", "local.clip_samples=1.0"]),
        ("local.clip_samples = 1.0: clip_samples needs each",
         ["normed.toml", "local.clip_samples=1.0", "run.trainer=onnx"]),
        ("pretraining.local.clip_samples = 1.0: clip_samples needs each",
         ["normed.toml", "pretraining.share=0.1", "pretraining.local.clip_samples=1.0"]),
    ],
)  # fmt: skip
def test_check_trains_a_step_as_the_recipe_does_and_names_the_key_that_cannot_be(place, recipe) -> None:
    Path("nets.py").write_text(NORMED)
    Path("normed.toml").write_text(
        'name = "n"\nrounds = 1\n[data]\nname = "heart-disease"\n'
        '[data.partition]\nname = "natural"\n[model]\nname = "nets.py:normed"\n'
    )
    told = hedgerow("check", *recipe)
    assert (told.exit_code, place in " ".join(told.stderr.split())) == (2, True), told.output


NORMED = """
from torch import nn

def normed(input_shape, num_classes):
    width = input_shape[0]
    norm = nn.Sequential(nn.Unflatten(1, (width, 1)), nn.BatchNorm1d(width), nn.Flatten())
    return nn.Sequential(norm, nn.Linear(width, num_classes))
"""


@pytest.mark.parametrize(
    "overrides",
    [
        ["local.learning_rate=1e6"], ["local.max_steps=1", "local.momentum=0.9"],
        ["strategy.name=scaffold", "strategy.weighted=false"], ["local.batch_size=0"],
        ["local.time_budget=3.0"],
        ["local.clip_samples=1.0", "local.sample_noise=1.0", "local.sample_rate=0.01",
         "local.sample_delta=1e-5"],
    ],
)  # fmt: skip
def test_check_takes_a_training_that_a_run_can_carry_out(overrides) -> None:
    told = hedgerow("check", "heart", *overrides)
    assert told.exit_code == 0, told.output


def test_a_sweep_takes_them_for_all_its_runs_and_may_vary_them() -> None:
    cells = load_sweep("heart", ['sweep.run.trainer=["loop", "batch"]', *in_run(None, "cpu", None)]).cells
    assert [cell.experiment.run.trainer for cell in cells] == ["loop", "batch"]
    assert {cell.experiment.run.device for cell in cells} == {"cpu"}
    assert len({cell.folder for cell in cells}) == 2


def test_the_options_are_in_the_help_of_run_and_the_trainers_in_the_list() -> None:
    text = hedgerow("run", "--help").stdout
    assert all(option in text for option in ("--trainer", "--device", "--precision"))
    assert list(json.loads(hedgerow("list", "trainers", "--json").stdout)["trainers"]) == [
        "loop",
        "batch",
        "auto",
        "onnx",
    ]
