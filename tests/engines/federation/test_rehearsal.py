"""`hedgerow rehearse`: a federation on one machine, of which nothing stays but its run."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hedgerow.experiments.cli.main import app
from hedgerow.experiments.cli.rehearse import what_went_wrong
from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.experiments.runs.store import RunFolder
from tests.engines.federation.coordinated import HEDGEROW
from tests.engines.federation.devices import RECIPE, write_clinics

NAMES = ("attic", "barn", "cellar")
ALL = ["clinics.toml", "--data", *(f"{name}.csv" for name in NAMES)]


@pytest.fixture
def clinics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe, and a table for each device."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tmp").mkdir()
    write_clinics(tmp_path, NAMES)
    (tmp_path / "clinics.toml").write_text(RECIPE.replace('[run]\ntrainer = "ten-lines"\n', ""))
    return tmp_path


def started(home: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [HEDGEROW, "rehearse", "clinics.toml", *arguments]
    command += ["--data", *(f"{name}.csv" for name in NAMES)]
    return subprocess.Popen(
        command, cwd=home, env={**os.environ, "TMPDIR": str(home / "tmp")}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def processes_of(home: Path, what: str = "") -> list[int]:
    """Those whose command line has something of the rehearsal's folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(home / "tmp") in line and what in line:
                found.append(int(entry.name))
    return found


def test_a_masked_rehearsal_gives_model_and_measures_of_a_simulation_and_leaves_nothing(clinics):
    process = started(clinics, "--masks", "rounds=1", "evaluation.clients=all", "--out", "run")
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    masked = ["strategy.name=secure_fedavg", "strategy.min_clients=3", "strategy.dropout=0.0"]
    files = [str(clinics / f"{name}.csv") for name in NAMES]
    overrides = ["rounds=1", "evaluation.clients=all", *masked, "strategy.corrupt=0.0", f"data.files={files}"]
    simulated = run_experiment(load("clinics.toml", overrides), clinics / "simulated")
    assert (clinics / "run" / "model.safetensors").read_bytes() == simulated.model.read_bytes(), said
    real, same = (run.rounds()[-1]["client_evaluation"] for run in (RunFolder(clinics / "run"), simulated))
    assert real["metrics"] == same["metrics"], real
    assert {name: set(figures) for name, figures in real["metrics"].items()} == {
        "accuracy": {"weighted_mean"}, "loss": {"weighted_mean"}
    }  # fmt: skip
    assert real["clients"] == 3
    assert not (clinics / "run" / "coordinated.json").exists()  # it stands alone
    assert "3 of 3 connected: attic, barn, cellar" in said
    assert "round 1 of 1: 3 of 3 count" in said
    for line in ("hedgerow invite attic barn cellar", "hedgerow join barn.kit --data barn.csv"):
        assert line in said
    assert not list((clinics / "tmp").iterdir())
    assert not processes_of(clinics)


def test_a_device_that_dies_ends_the_rehearsal_with_its_name_and_a_refusal_is_told(clinics):
    process = started(clinics)
    until = time.monotonic() + 120
    while not (victims := processes_of(clinics, "hedgerow.node")):
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    name = Path(f"/proc/{victims[0]}/cmdline").read_bytes().rstrip(b"\0").decode().rpartition("/")[2]
    os.kill(victims[0], signal.SIGKILL)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 1, said
    assert f"the run failed: device {name!r} was killed by signal 9" in said
    assert "Traceback" not in said
    assert not processes_of(clinics)
    (kept,) = (clinics / "tmp").iterdir()
    assert f"are in {kept / 'federation' / 'logs'}" in said


def rehearsed(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["rehearse", *arguments])
    assert done.exit_code == 2, done.output
    assert not [path for path in Path().rglob("*") if path.name == "federation.json"]
    return done.output


def test_what_does_not_fit_in_a_file_is_told_before_anything_is_started(clinics):
    (clinics / "shed.csv").write_text("age,pressure,sick\n61,140,yes\n460,120,no\n")
    (clinics / "loft.csv").write_text("age,presure,sick\n61,140,yes\n")
    said = rehearsed("clinics.toml", "--data", "attic.csv", "shed.csv", "loft.csv")
    assert "shed.csv, row 3: column 'age' is '460'; it must be a number from 0 to 120" in said
    assert "loft.csv has no column 'pressure'" in said
    assert "attic" not in said


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["clinics.toml"], "no data is given"),
        (["clinics.toml", "--data", "attic.csv", "nowhere.csv"], "nowhere.csv"),
        (["clinics.toml", "--data", "attic.csv", "tmp/../attic.csv"], "would both be the device 'attic'"),
        (["clinics.toml", "--data", "attic.csv"], "give strategy.clients_per_round=1"),
        (["heart", "--data", "attic.csv"], "data.name is 'heart-disease'; to rehearse with files"),
        (["clinics.toml", "--data", "attic.csv", "rounds=0"], "rounds = 0"),
        ([*ALL, "strategy.name=secure_fedavg"], "the recipe needs 10 devices"),
    ],
)  # fmt: skip
def test_a_rehearsal_that_cannot_be_is_refused_in_a_sentence(clinics, arguments, text):
    assert text in rehearsed(*arguments)


def test_a_device_that_counts_in_no_round_fails_a_rehearsal():
    """Also where the rounds went well without it."""
    asked = {"clients": {"a": {}, "b": {}}, "dropped": {"b": "its labels are unknown"}, "failed": ""}
    lines = [{"round": number, **asked} for number in (0, 1, 2)]
    assert what_went_wrong(lines, ["a", "b"]) == "device 'b' counted in no round: its labels are unknown"
    assert what_went_wrong(lines, ["a"]) == ""
    lines.append({**lines[1], "round": 3, "failed": "too few count"})
    assert what_went_wrong(lines, ["a", "b"]) == "1 of 3 rounds changed nothing: too few count"
