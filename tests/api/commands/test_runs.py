"""Runs and sweeps as commands: finished, interrupted, killed, and gone on with."""

import json
import os
import signal
import tomllib
from pathlib import Path

import pytest

from hedgerow.experiments.cli.terminal import describe
from hedgerow.experiments.runs.store import RunFolder
from tests.api.commands.command import hedgerow, rounds, start, wait_until


def test_a_run_ends_with_its_table_and_its_report() -> None:
    result = hedgerow("run", "heart", "rounds=2")
    assert result.exit_code == 0, result.stderr
    assert "heart" in result.stdout
    assert "report: runs/heart/report.html" in result.stderr
    run = RunFolder(Path("runs/heart"))
    assert run.finished
    assert len(run.rounds()) == 2
    assert Path("runs/heart/report.html").is_file()
    assert tomllib.loads(Path("runs/heart/config.toml").read_text(encoding="utf-8"))["rounds"] == 2

    before = run.model.stat().st_mtime_ns
    again = hedgerow("run", "heart", "rounds=2", "--json")
    assert again.exit_code == 0
    assert json.loads(again.stdout)[0]["rounds"] == 2
    assert run.model.stat().st_mtime_ns == before, "a finished run is not run again"

    other = hedgerow("run", "heart", "rounds=3")
    assert other.exit_code == 2
    assert "runs/heart holds a run with another configuration; choose another folder" in other.stderr
    assert run.model.stat().st_mtime_ns == before

    compared = hedgerow("compare", "runs/heart", "--json")
    assert json.loads(compared.stdout) == json.loads(again.stdout)


@pytest.mark.slow
def test_a_run_interrupted_by_ctrl_c_says_how_to_go_on_and_goes_on() -> None:
    process = start("run", "heart", "rounds=60", "--out", "mine")
    wait_until(lambda: rounds("mine") >= 3, process)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "interrupted; nothing saved is lost. Continue with: hedgerow resume mine" in stderr
    assert "Traceback" not in stderr
    done = rounds("mine")
    assert 3 <= done < 60

    again = hedgerow("run", "heart", "rounds=60", "--out", "mine")
    assert again.exit_code == 2
    assert (
        f"mine holds this experiment, {done} of 60 rounds done; continue with: hedgerow resume mine"
        in again.stderr
    )

    resumed = hedgerow("resume", "mine", "--json")
    assert resumed.exit_code == 0, resumed.stderr
    assert json.loads(resumed.stdout)[0]["rounds"] == 60

    whole = hedgerow("run", "heart", "rounds=60", "--out", "whole")
    assert whole.exit_code == 0
    assert Path("mine/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()


@pytest.mark.slow
def test_a_sweep_runs_in_parallel_and_one_failure_does_not_stop_the_others() -> None:
    process = start(
        "sweep", "heart", "rounds=2", "sweep.data.partition.clients=[2, 9, 3]", "--jobs", "2", "--json"
    )
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 1
    rows = json.loads(stdout)
    labels = ["clients=2", "clients=9 (failed: 0 of 2 rounds)", "clients=3"]
    assert [row["label"] for row in rows] == labels
    assert rows[1]["notes"][0].startswith("failed: clients is 9; 'heart-disease' has 4 natural clients")
    assert "clients=9 failed after round 0: clients is 9; 'heart-disease' has 4 natural clients" in stderr
    assert "Traceback" not in stderr
    assert (Path("runs/heart/report.html")).is_file()

    # Started again, it tries the failed one only.
    models = {p: p.stat().st_mtime_ns for p in Path("runs/heart").glob("*/model.safetensors")}
    assert len(models) == 2
    again = start("resume", "runs/heart")
    _, stderr = again.communicate(timeout=600)
    assert again.returncode == 1
    assert "clients=9 failed" in stderr
    assert {p: p.stat().st_mtime_ns for p in Path("runs/heart").glob("*/model.safetensors")} == models


@pytest.mark.slow
def test_a_killed_worker_process_is_one_failure() -> None:
    Path("net.py").write_text(
        "import os, signal, torch\n"
        "def make(input_shape, num_classes, deadly):\n"
        "    if deadly:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return torch.nn.Linear(input_shape[0], num_classes)\n",
        encoding="utf-8",
    )
    process = start(
        "sweep",
        "heart",
        "rounds=2",
        "model.name=net.py:make",
        "sweep.model.deadly=[true, false]",
        "--jobs",
        "1",
    )
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 1
    assert (
        "deadly=true failed after round 0: its process was killed (SIGKILL), perhaps for lack of memory"
        in stderr
    )
    assert (Path("runs/heart/deadly=false/model.safetensors")).is_file()


@pytest.mark.slow
def test_a_sweep_interrupted_by_ctrl_c_goes_on_with_what_is_left() -> None:
    process = start("sweep", "heart", "sweep.rounds=[2, 90]", "--jobs", "1", "--out", "mine")
    wait_until(lambda: rounds("mine/rounds=90") >= 3, process)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Continue with: hedgerow resume mine" in stderr
    assert "Traceback" not in stderr
    finished = Path("mine/rounds=2/model.safetensors").stat().st_mtime_ns
    done = rounds("mine/rounds=90")
    assert done < 90

    resumed = start("resume", "mine", "--jobs", "1")
    _, stderr = resumed.communicate(timeout=600)
    assert resumed.returncode == 0, stderr
    assert Path("mine/rounds=2/model.safetensors").stat().st_mtime_ns == finished
    lines = Path("mine/rounds=90/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["round"] for line in lines].count(1) == 1, "it did not start anew"
    assert RunFolder(Path("mine/rounds=90")).finished


def test_a_sweep_does_not_touch_another_sweeps_folder() -> None:
    Path("mine/heart").mkdir(parents=True)
    Path("mine/heart/config.toml").write_text("rounds = 1\n", encoding="utf-8")
    result = hedgerow("sweep", "heart", "--out", "mine")
    assert result.exit_code == 2
    assert "mine holds another sweep: the configuration in heart differs" in result.stderr
    assert [p.name for p in Path("mine").rglob("*")] == ["heart", "config.toml"]


@pytest.mark.parametrize("there", ["config.toml", "report.html", "notes/mine.txt"])
def test_a_sweep_takes_no_folder_of_a_run_or_of_anything_else(there: str) -> None:
    file = Path("mine") / there
    file.parent.mkdir(parents=True)
    file.write_text("mine", encoding="utf-8")
    result = hedgerow("sweep", "heart", "--out", "mine")
    assert result.exit_code == 2
    assert "mine is not empty and is not a sweep; choose another folder with --out" in result.stderr
    assert [p for p in Path("mine").rglob("*") if p.is_file()] == [file]
    assert file.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("folder", ["taken", "taken/runs/heart"])
@pytest.mark.parametrize("command", ["run", "sweep"])
def test_a_file_in_the_place_of_a_folder_is_said(command: str, folder: str) -> None:
    Path("taken").write_text("notes", encoding="utf-8")
    result = hedgerow(command, "heart", "--out", folder)
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"{folder}: this path, or a folder above it, is a file; choose another folder")
    assert Path("taken").read_text(encoding="utf-8") == "notes"


def test_an_error_of_the_operating_system_is_said_with_its_file() -> None:
    assert describe(FileNotFoundError(2, "No such file or directory", "gone/x.toml")) == (
        "gone/x.toml: No such file or directory"
    )
