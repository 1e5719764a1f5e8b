"""Commands, data sets and parts of another package on the command line."""

import json
from pathlib import Path

import pytest
import typer

from hedgerow.experiments.cli.plugins import COMMANDS
from hedgerow.registry import Registry
from tests.api.commands.command import hedgerow
from tests.guests import ROOT, install

RECIPE = str(ROOT / "tests" / "guests" / "recipe.toml")


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch, in_an_empty_folder: None) -> None:
    install(monkeypatch)


def test_a_recipe_of_such_parts_is_checked_run_evaluated_and_replayed_like_any_other() -> None:
    assert hedgerow("check", RECIPE).exit_code == 0
    done = hedgerow(
        "run", RECIPE, "data.held_out=0.3", "evaluation.clients=all", "--record", "--out", "run", "--json"
    )
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)
    assert row["client_evaluation"]["accuracy"]["mean"] > 0.6
    assert hedgerow("evaluate", "run").exit_code == 0
    assert hedgerow("replay", "run").exit_code == 0
    assert hedgerow("loudest", "run").stdout.startswith("blob-")


@pytest.mark.slow
def test_such_parts_are_listed_and_swept_in_processes_of_their_own() -> None:
    listed = json.loads(hedgerow("list", "--json").stdout)
    for kind, name in {
        "transforms": "natural_compression", "aggregates": "centered_clipping", "datasets": "blobs",
        "strategies": "smooth_fedexp", "trainers": "softmax",
    }.items():  # fmt: skip
        assert listed[kind][name], "its first line is its summary"
    done = hedgerow("sweep", RECIPE, "sweep.seed=[0, 1]", "rounds=1", "--jobs", "2", "--out", "runs")
    assert done.exit_code == 0, done.output
    assert len(list(Path("runs").rglob("model.safetensors"))) == 2


def test_a_mistake_in_such_a_part_is_told_as_any_other() -> None:
    done = hedgerow("check", RECIPE, "strategy.decay=2.0", "data.klients=3", "run.trainer=softmx")
    assert done.exit_code == 2
    for said in ("strategy.decay = 2.0: it must be", "Did you mean 'clients'?", "Did you mean 'softmax'?"):
        assert said in done.stderr, done.stderr


def test_a_command_stands_in_the_help_and_explains_itself() -> None:
    shown = hedgerow("--help").stdout
    assert "Other packages" in shown
    assert "loudest" in shown
    explained = hedgerow("loudest", "--help")
    assert explained.exit_code == 0
    assert "The folder of a run." in explained.stdout


def test_a_command_that_cannot_be_loaded_says_so_and_leaves_the_others_alone() -> None:
    assert "No module named" in hedgerow("--help").stdout
    done = hedgerow("broken")
    assert done.exit_code == 1
    assert "tests.guests.not_there" in done.stderr
    assert hedgerow("list", "aggregates").exit_code == 0


def test_a_command_of_several_and_a_registered_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(COMMANDS, "_registered", {})
    several = typer.Typer(help="Several things.")

    @several.command()
    def first() -> None:
        print("the first")

    @COMMANDS.register("fails")
    def fails(why: str) -> None:
        raise ValueError(f"it cannot: {why}")

    COMMANDS.register("several")(several)
    assert hedgerow("several", "first").stdout == "the first\n"
    done = hedgerow("fails", "rain")
    assert (done.exit_code, done.stderr.strip()) == (1, "it cannot: rain")


def test_a_name_is_given_once_and_hedgerows_own_come_first() -> None:
    with pytest.raises(ValueError, match="there is a command 'loudest' already; choose another name"):
        COMMANDS.register("loudest")
    codecs = Registry("codec", "hedgerow.nothing", {"json": "json:dumps"})
    with pytest.raises(ValueError, match="'json' already"):
        codecs.register("json")


def test_a_part_that_fails_when_it_is_loaded_is_named_with_its_place(monkeypatch, tmp_path) -> None:
    from importlib.metadata import EntryPoint

    (tmp_path / "torn.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    codecs = Registry("codec", "hedgerow.codecs", {})
    monkeypatch.setitem(codecs.__dict__, "_plugins", (EntryPoint("torn", "torn:it", "hedgerow.codecs"),))
    with pytest.raises(ImportError, match=r"the codec 'torn' cannot be loaded from torn:it: ZeroDivision"):
        codecs.get("torn")
