"""What 0.1 left behind is read: unfinished runs go on and end as 0.1 would have ended them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from hedgerow.experiments.cli.main import app
from hedgerow.experiments.config.recipe import load, load_sweep
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.experiments.runs.store import StoreError

HERE = Path(__file__).parent / "runs-0.1"
RUNS = sorted(path.parent.name for path in HERE.glob("*/expected.json"))
RECIPES = sorted(HERE.glob("recipes/*.toml"))


def command(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def close(found: object, expected: object) -> bool:
    """Equal but for what another processor's arithmetic may change."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[key], expected[key]) for key in expected)
    return found == (pytest.approx(expected, rel=1e-2) if isinstance(expected, float) else expected)


def test_there_are_as_many_as_we_think():
    assert RUNS == ["adam", "error-feedback", "masked", "plain", "private", "samples", "scaffold"]
    assert len(RECIPES) == 11


@pytest.mark.parametrize("name", RUNS)
def test_an_unfinished_run_goes_on_and_ends_as_it_would_have(name, tmp_path):
    folder = Path(shutil.copytree(HERE / name, tmp_path / name))
    run = run_experiment(load(folder), folder)
    found, expected = load_file(run.model), load_file(HERE / name / "expected.safetensors")
    assert found.keys() == expected.keys()
    for tensor, values in expected.items():
        np.testing.assert_allclose(found[tensor], values, atol=1e-3)
    lines = [{key: value for key, value in line.items() if key != "seconds"} for line in run.rounds()]
    for line, other in zip(lines, json.loads((folder / "expected.json").read_text()), strict=True):
        assert close(line, other)


def test_a_sweep_goes_on_with_what_was_the_default_then_and_is_compared_and_reported(tmp_path):
    folder = Path(shutil.copytree(HERE / "sweep", tmp_path / "sweep"))
    before = (folder / "float32" / "metrics.jsonl").read_bytes()
    refused = CliRunner().invoke(app, ["resume", str(folder)])
    assert refused.exit_code == 2
    assert "differs (strategy.max_weight)" in " ".join(refused.output.split())
    command("sweep", folder, "strategy.max_weight=1000000.0", "--out", folder, "--jobs", "1")
    assert (folder / "float32" / "metrics.jsonl").read_bytes() == before
    assert len(json.loads(command("compare", folder, HERE / "private", "--json"))) == 3
    assert (folder / "report.html").is_file()


def test_a_run_with_another_setting_is_refused_by_the_settings_name(tmp_path):
    folder = Path(shutil.copytree(HERE / "plain", tmp_path / "plain"))
    with pytest.raises(StoreError, match=r"local\.epochs was 1, is now 2"):
        run_experiment(load(folder, ["local.epochs=2"]), folder)


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_a_recipe_is_read(file):
    # Without its budgets: to find the noise of each takes seconds.
    assert load_sweep(file, ["sweep.strategy.epsilon="]).cells
