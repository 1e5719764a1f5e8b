"""What can be asked of a run that has ended: how its model does on its clients, and for the model again."""

import json
from pathlib import Path

import pytest

from hedgerow.experiments.runs.store import RunFolder
from tests.api.commands.command import hedgerow

MEASURED = ("data.held_out=0.25", "evaluation.clients=all")


def test_the_model_of_a_run_is_measured_as_its_last_round_was_and_made_again() -> None:
    result = hedgerow("run", "heart", "rounds=2", "--record", *MEASURED)
    assert result.exit_code == 0, result.stderr
    assert "clients:" in result.stdout
    assert "worst" in result.stdout
    assert "evaluation by clients took" in result.stdout
    line = RunFolder(Path("runs/heart")).rounds()[-1]["client_evaluation"]
    row = json.loads(hedgerow("compare", "runs/heart", "--json").stdout)[0]
    for figure in ("mean", "worst_tenth", "spread"):
        assert row["client_evaluation"]["accuracy"][figure] == line["metrics"]["accuracy"][figure]
    assert row["evaluation_bytes_up"] == 2 * line["bytes_up"]
    assert "worst" in Path("runs/heart/report.html").read_text(encoding="utf-8")

    measured = json.loads(hedgerow("evaluate", "runs/heart", "--json").stdout)
    assert measured.pop("each").keys() == RunFolder(Path("runs/heart")).rounds()[-1]["clients"].keys()
    assert measured == line
    shown = hedgerow("evaluate", "runs/heart", "--clients", "0.5", "--workers", "1")
    assert "2 of 2 clients measured the model of runs/heart" in shown.stdout
    assert "worst" in shown.stdout

    again = hedgerow("replay", "runs/heart", "--out", "again.safetensors")
    assert again.exit_code == 0, again.stderr
    assert "it is the run's model, bit for bit" in again.stdout
    assert Path("again.safetensors").is_file()
    for file in Path("runs/heart/replies").glob("round-000002.zip"):
        file.unlink()
    fewer = hedgerow("replay", "runs/heart", "--json")
    assert fewer.exit_code == 1
    assert json.loads(fewer.stdout)["last"] == 1
    assert json.loads(fewer.stdout)["same"] is False


def test_what_cannot_be_asked_of_a_run_is_refused_by_name() -> None:
    assert hedgerow("run", "heart", "rounds=1").exit_code == 0
    for arguments, told in (
        (["evaluate", "runs/heart"], "held no samples out"),
        (["evaluate", "runs/heart", "--clients", "half"], "--clients is 'half'; it must be \"all\""),
        (["replay", "runs/heart"], "runs/heart was not recorded; run it with --record"),
        (["replay", "nothing"], "nothing is not a run"),
        (["evaluate", "nothing"], "nothing is not a run"),
    ):
        result = hedgerow(*arguments)
        assert result.exit_code in (1, 2)
        assert told in result.stderr
        assert "Traceback" not in result.stderr
    Path("runs/heart/model.safetensors").unlink()
    assert (
        "runs/heart has no model yet; continue with: hedgerow resume"
        in hedgerow("replay", "runs/heart").stderr
    )


@pytest.mark.parametrize("key", ["run.record=true", "evaluation.clients=0.5"])
def test_a_run_can_go_on_with_what_changes_no_round(key: str) -> None:
    assert hedgerow("run", "heart", "rounds=1", "data.held_out=0.2").exit_code == 0
    result = hedgerow("resume", "runs/heart", "rounds=2", key)
    assert result.exit_code == 0, result.stderr
    if key.startswith("run"):
        assert "rounds 2 to 2" in hedgerow("replay", "runs/heart").stdout
