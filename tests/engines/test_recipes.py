"""Every recipe in the package runs: found by discovery, shortened, on its own data and model."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hedgerow.experiments.config import recipe
from hedgerow.experiments.config.expand import Cell
from hedgerow.experiments.config.recipe import load, load_sweep, recipe_summary, recipe_text, recipes
from hedgerow.experiments.config.schema import Experiment, to_toml
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.experiments.runs.store import RunFolder

FETCHED = {"mnist", "fashion-mnist-full", "cifar-10"}
NAMES = recipes()


def test_there_are_fifteen_recipes_and_each_is_found() -> None:
    files = {file.stem for file in (Path(recipe.__file__).parents[1] / "recipes").glob("*.toml")}
    assert files == set(NAMES)
    assert len(NAMES) == 15


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_teaches(name: str) -> None:
    text = recipe_text(name)
    assert text.startswith("# "), "the first line says what the recipe shows; `hedgerow list` prints it"
    assert 30 < len(recipe_summary(name)) <= 120
    assert load_sweep(name).name == name
    comments = [line for line in text.splitlines() if line.startswith("#") or "  # " in line]
    assert len(comments) >= 4


def test_recipes_are_no_copies_of_each_other() -> None:
    bodies = {}
    for name in NAMES:
        lines = (line.partition("  #")[0].strip() for line in recipe_text(name).splitlines())
        bodies[name] = {line for line in lines if line and not line.startswith(("#", "["))}
    for one in NAMES:
        for other in NAMES:
            if one < other:
                shared = len(bodies[one] & bodies[other]) / min(len(bodies[one]), len(bodies[other]))
                assert shared <= 0.6, f"{one} and {other} share {shared:.0%} of their lines"


def cohort(experiment: Experiment) -> int:
    """Two clients; as many as the most demanding robust rule of a recipe needs where the rule is no sum."""
    return 2 if experiment.strategy().aggregate.linear else 13


def short(experiment: Experiment, folder: Path) -> Experiment:
    """Two rounds of few clients, but where few give no privacy; embedded data where a recipe fetches some."""
    overrides = ["rounds=2", "local.epochs=1", "evaluation.every=1"]
    if not experiment.strategy().private:
        overrides.append(f"strategy.clients_per_round={cohort(experiment)}")
    if experiment.pretraining is not None:
        overrides.append("pretraining.local.epochs=1")
    if experiment.data.partition.name == "natural":
        overrides.append("data.partition.clients=3")
    if experiment.data.name in FETCHED:  # tests reach no network
        overrides.append("data.name=fashion-mnist")
    file = folder / "short.toml"
    file.write_text(to_toml(experiment), encoding="utf-8")
    shortened = load(file, overrides)
    assert isinstance(shortened, Experiment)
    return shortened


def cells(name: str) -> list[Cell]:
    """One seed of each way of running a recipe."""
    found = {cell.experiment.label: cell for cell in reversed(load_sweep(name).cells)}
    return list(reversed(found.values()))


def test_each_way_of_running_a_recipe_is_run_below() -> None:
    assert sum(len(cells(name)) for name in NAMES) == 44


def evaluations(line: Mapping[str, Any]) -> list[Mapping[str, float]]:
    """What the server has measured in a round, and the mean of what clients have: one of them at least."""
    on_clients = line.get("client_evaluation", {"metrics": {}})["metrics"]
    found = [line["evaluation"], {name: each["mean"] for name, each in on_clients.items()}]
    found = [measured for measured in found if measured]
    assert found
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)  # not their cells: to find those takes longer than most tests
def test_a_recipe_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEDGEROW_DATA", str(tmp_path / "cache"))
    for number, cell in enumerate(cells(name)):
        folder = tmp_path / str(number)
        folder.mkdir()
        it_runs(short(cell.experiment, folder), folder / "run")


def it_runs(experiment: Experiment, folder: Path) -> None:
    run_experiment(experiment, folder)
    run = RunFolder(folder)
    assert run.finished
    assert load(folder) == experiment
    lines = run.rounds()
    assert [line["round"] for line in lines] == [1, 2]
    for line in lines:
        assert not line["failed"]
        assert not line["dropped"]
        if experiment.strategy().private:
            assert 0 < line["epsilon"] <= experiment.strategy().budget.epsilon
        else:
            assert len(line["clients"]) == cohort(experiment)
        assert line["bytes_up"] > 0
        for measured in evaluations(line):
            assert math.isfinite(measured["loss"])
            assert 0 <= measured["accuracy"] <= 1
