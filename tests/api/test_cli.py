"""The command line: what it prints, and its exit codes.

Most tests call it in this process, some start it as a user does.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from hedgerow.experiments.catalogue import heat_map
from hedgerow.experiments.cli import app
from hedgerow.experiments.recipe import recipe_text, recipes
from hedgerow.experiments.store import RunFolder

ROOT = Path(__file__).parents[2]
COMMANDS = [
    *("run", "sweep", "resume", "compare", "list", "show", "copy", "check", "data", "privacy", "audit"),
    *("enrol", "register"),
]
COMMAND = [sys.executable, "-c", "from hedgerow.experiments.cli import main; main()"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("HEDGEROW_DEBUG", raising=False)


def hedgerow(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), prog_name="hedgerow")


def start(*arguments: str) -> subprocess.Popen[str]:
    # A process group of its own, as a shell gives to a command: Ctrl-C reaches all of it.
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that runs the tests in the background has them ignore Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def rounds(folder: str) -> int:
    file = Path(folder) / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.is_file() else 0


# Help


def test_help_lists_the_commands_and_what_to_try_first() -> None:
    result = hedgerow("--help")
    assert result.exit_code == 0
    assert [c for c in COMMANDS if re.search(rf"^│ {c}\s+[A-Z]", result.stdout, re.MULTILINE)] == COMMANDS
    assert "hedgerow sweep demo" in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str) -> None:
    result = hedgerow(command, "--help")
    assert result.exit_code == 0
    assert f"hedgerow {command}" in result.stdout
    assert "--help" in result.stdout


def test_arguments_are_explained_too() -> None:
    assert "A recipe's name (see 'hedgerow list'), or a TOML file." in hedgerow("run", "--help").stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from hedgerow.experiments.cli import main\ntry: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'flwr', 'matplotlib', 'plotly', 'pydantic', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_is_printed() -> None:
    from hedgerow import __version__

    assert hedgerow("--version").stdout == f"hedgerow {__version__}\n"


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["run", "hart"], "Did you mean 'heart'?"),
        (["run", "heart", "rounds=0", "sed=1"], "2 mistakes in heart"),
        (["run", "heart", "strategy.pipeline=quantise(8)"], "Did you mean 'quantize'?"),
        (["run", "demo"], "demo describes 8 experiments; run them with: hedgerow sweep demo"),
        (["sweep", "heart", "rounds"], "'rounds' is no override; write key=value"),
        (["check", "heart", "local.epoch=3"], "Did you mean 'epochs'?"),
        (["show", "hart"], "Did you mean 'heart'?"),
        (["copy", "hart", "x.toml"], "Did you mean 'heart'?"),
        (["resume", "nowhere"], "nowhere is no run and no sweep"),
        (["compare", "nowhere"], "nowhere"),
        (["data", "hart-disease"], "Did you mean 'heart-disease'?"),
        (["data", "watch", "--partition", "dirchlet"], "Did you mean 'dirichlet'?"),
        (["data", "watch", "windw=3"], "Did you mean 'window'?"),
    ],
)
def test_a_mistake_exits_with_2_and_a_short_text_on_stderr(arguments: list[str], text: str) -> None:
    result = hedgerow(*arguments)
    assert result.exit_code == 2
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout
    assert not any(Path().iterdir())


def test_a_usage_error_exits_with_2() -> None:
    assert hedgerow("list", "recipies").exit_code == 2
    assert hedgerow("rum", "demo").exit_code == 2
    assert hedgerow("run").exit_code == 2


def test_a_failure_exits_with_1() -> None:
    result = hedgerow("run", "heart", "data.partition.clients=9")
    assert result.exit_code == 1
    assert "'heart-disease' has 4 natural clients" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("how", ["variable", "option"])
def test_a_traceback_is_shown_on_demand(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "variable":
        monkeypatch.setenv("HEDGEROW_DEBUG", "1")
    result = hedgerow(*(["--debug"] if how == "option" else []), "check", "hart")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr


# What there is


def test_everything_there_is_can_be_listed() -> None:
    listed = json.loads(hedgerow("list", "--json").stdout)
    assert list(listed) == ["recipes", "datasets", "partitions", "models", "strategies", "transforms"]
    assert list(listed["recipes"]) == recipes()
    assert "fashion-mnist" in listed["datasets"]
    assert "dirichlet" in listed["partitions"]
    assert "cnn-fedavg" in listed["models"]
    assert "fedadam" in listed["strategies"]
    assert "quantize" in listed["transforms"]
    for kind, summaries in listed.items():
        for name, summary in summaries.items():
            assert summary, f"{kind} {name} has no summary"
    text = hedgerow("list", "recipes").stdout
    assert all(f"  {name} " in text for name in recipes())
    assert "fedadam" not in text


def test_a_recipe_is_shown_and_copied_as_it_is() -> None:
    assert hedgerow("show", "demo").stdout == recipe_text("demo")
    result = hedgerow("copy", "demo", "mine.toml")
    assert result.exit_code == 0
    assert "hedgerow run mine.toml" in result.stdout or "hedgerow sweep mine.toml" in result.stdout
    assert Path("mine.toml").read_text(encoding="utf-8") == recipe_text("demo")
    assert hedgerow("check", "mine.toml").exit_code == 0


def test_nothing_is_overwritten() -> None:
    Path("mine.toml").write_text("precious", encoding="utf-8")
    result = hedgerow("copy", "demo", "mine.toml")
    assert result.exit_code == 2
    assert "mine.toml is there already" in result.stderr
    assert Path("mine.toml").read_text(encoding="utf-8") == "precious"


def test_a_good_file_is_said_to_be_good() -> None:
    result = hedgerow("check", "demo", "rounds=7")
    assert result.exit_code == 0
    assert "demo: no mistakes; 8 experiments" in result.stdout
    assert "error_feedback(top_k(0.01), quantize(8)), seed 1, 7 rounds" in result.stdout


def test_data_are_shown_with_their_heat_map() -> None:
    result = hedgerow("data", "heart-disease")
    assert result.exit_code == 0
    assert "738 training and 182 test samples of 29, 2 classes" in result.stdout
    assert "4 clients, natural" in result.stdout
    assert "samples a client: 99 to 243, median 198" in result.stdout
    assert re.search(r"^ *disease  [░▒▓█]{4}$", result.stdout, re.MULTILINE)


def test_data_are_dealt_as_asked() -> None:
    arguments = [
        "data",
        "fashion-mnist",
        "--partition",
        "dirichlet",
        "--clients",
        "50",
        "partition.alpha=0.3",
        "--json",
    ]
    facts = json.loads(hedgerow(*arguments).stdout)
    counts = np.array(list(facts["counts"].values()))
    assert counts.shape == (50, 10)
    assert counts.sum() == facts["train"] == 6000
    assert facts["size"]["max"] == counts.sum(1).max()
    assert facts["partition"] == {
        "name": "dirichlet",
        "clients": 50,
        "alpha": 0.3,
        "min_samples": 1,
        "seed": 0,
    }
    other = json.loads(hedgerow(*arguments, "--seed", "1").stdout)
    assert other["counts"] != facts["counts"]


def test_data_of_the_users_own_are_shown() -> None:
    lines = [f"{i},{i % 3},{'yes' if i % 2 else 'no'}" for i in range(60)]
    Path("rows.csv").write_text("\n".join(["a,b,sick", *lines]) + "\n", encoding="utf-8")
    result = hedgerow("data", "rows.csv", "label=sick", "--clients", "3")
    assert result.exit_code == 0, result.stderr
    assert "3 clients, iid" in result.stdout
    assert "data.label: it must be given" in hedgerow("data", "rows.csv").stderr


def test_the_heat_map_shows_who_holds_what() -> None:
    text = heat_map(np.array([[0, 100], [1, 25], [50, 0]]), ["cat", "dog"]).plain.splitlines()
    assert text[0] == "cat   ░▓"
    assert text[1] == "dog  █▒ "
    assert text[2].strip() == "samples: ░ 1-6  ▒ 7-25  ▓ 26-56  █ 57-100"
    many = heat_map(np.ones((1000, 50), int), [f"class {c}" for c in range(50)], width=80).plain.splitlines()
    assert max(map(len, many[:-1])) <= 80
    assert len(many) == 31
    assert many[-1].strip() == "samples: █ 1-1; 69 of 1,000 clients; 30 of 50 classes"


# Runs


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
    assert "interrupted; nothing saved is lost. Go on with: hedgerow resume mine" in stderr
    assert "Traceback" not in stderr
    done = rounds("mine")
    assert 3 <= done < 60

    again = hedgerow("run", "heart", "rounds=60", "--out", "mine")
    assert again.exit_code == 2
    assert (
        f"mine holds this experiment, {done} of 60 rounds done; go on with: hedgerow resume mine"
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
        "sweep", "heart", "rounds=2", "sweep.data.partition.clients=[2, 9, 3]", "--workers", "2", "--json"
    )
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 1
    assert [row["label"] for row in json.loads(stdout)] == ["clients=2", "clients=3"]
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
        "--workers",
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
    process = start("sweep", "heart", "sweep.rounds=[2, 90]", "--workers", "1", "--out", "mine")
    wait_until(lambda: rounds("mine/rounds=90") >= 3, process)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Go on with: hedgerow resume mine" in stderr
    assert "Traceback" not in stderr
    finished = Path("mine/rounds=2/model.safetensors").stat().st_mtime_ns
    done = rounds("mine/rounds=90")
    assert done < 90

    resumed = start("resume", "mine", "--workers", "1")
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


# Privacy


def test_the_one_number_that_is_left_out_is_computed() -> None:
    result = hedgerow("privacy", "--delta", "1e-5", "--rounds", "40", "--noise", "4", "--rate", "1")
    assert result.exit_code == 0
    assert re.search(r"^epsilon +7\.5112\d +<- computed$", result.stdout, re.MULTILINE)
    assert re.search(r"By Renyi divergences alone: epsilon 8\.\d+", result.stdout)
    found = json.loads(
        hedgerow(
            "privacy", "--epsilon", "8", "--delta", "1e-5", "--noise", "4", "--rate", "1", "--json"
        ).stdout
    )
    assert found["rounds"] == 44
    assert found["epsilon"] == 8


def test_a_plan_with_skellam_noise_is_that_of_the_ledger() -> None:
    given = ["privacy", "--delta", "1e-5", "--rounds", "40", "--rate", "1"]
    model = ["--parameters", "100000", "--norm", "0.5", "--unit", str(2.0**-13)]
    result = hedgerow(*given, *model, "--noise", "4")
    assert result.exit_code == 0
    assert re.search(r"^epsilon +8\.087\d+ +<- computed$", result.stdout, re.MULTILINE)
    assert "4099.57 units (l2). Skellam noise of variance 2.68904e+08" in " ".join(result.stdout.split())
    found = json.loads(hedgerow(*given, *model, "--epsilon", "8", "--json").stdout)
    assert found["noise_multiplier"] == pytest.approx(4.037, abs=0.003)
    assert found["variance"] >= (found["noise_multiplier"] * found["l2"]) ** 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["--epsilon", "1", "--delta", "1e-5", "--noise", "1", "--rate", "1", "--norm", "1"],
            "left out: --para",
        ),
        (["--epsilon", "1"], "left out: --delta --rounds --noise --rate"),
        (["--delta", "2", "--rounds", "3", "--noise", "1", "--rate", "1"], "delta is 2.0"),
        (["--epsilon", "0.01", "--delta", "1e-5", "--noise", "1", "--rate", "1"], "one round alone passes"),
    ],
)
def test_a_plan_that_cannot_be_is_told(arguments: list[str], text: str) -> None:
    result = hedgerow("privacy", *arguments)
    assert result.exit_code == 2
    assert text in result.stderr


PRIVATE = """
name = "private"
rounds = 9
[data]
name = "fashion-mnist"
[data.partition]
name = "iid"
clients = 20
[model]
name = "logistic"
[strategy]
name = "dp_fedavg"
clients_per_round = 4
population = 20
noise_multiplier = 1.0
delta = 1e-3
epsilon = 2.5
"""


def test_a_private_run_shows_epsilon_beside_accuracy_and_bytes_and_ends_within_its_budget() -> None:
    Path("private.toml").write_text(PRIVATE)
    result = hedgerow("run", "private.toml", "--workers", "1")
    assert result.exit_code == 0, result.output
    assert "epsilon" in result.stdout
    assert "(δ 0.001)" in result.stdout
    assert "ended early: one more round would have passed the privacy budget" in " ".join(
        result.stdout.split()
    )
    (row,) = json.loads(hedgerow("compare", "runs/private", "--json").stdout)
    lines = RunFolder(Path("runs/private")).rounds()
    assert row["epsilon"] == lines[-1]["epsilon"] <= 2.5
    assert row["rounds"] < 9
    assert all(line["metrics"] == {} for line in lines)
    assert len(Path("runs/private/privacy.jsonl").read_text().splitlines()) == len(lines)
    assert "epsilon" in Path("runs/private/report.html").read_text()


def test_a_run_with_noise_from_the_clients_shows_epsilon_and_half_of_the_bytes() -> None:
    Path("private.toml").write_text(PRIVATE)
    assert hedgerow("run", "private.toml", "rounds=2", "--workers", "1").exit_code == 0
    secure = [
        "strategy.name=secure_dp_fedavg", "strategy.clients_per_round=20", "strategy.noise_multiplier=4.0",
        "rounds=2", "--out", "runs/secure",
    ]  # fmt: skip
    result = hedgerow("run", "private.toml", *secure, "--masks")
    assert result.exit_code == 0, result.output
    central, masked = json.loads(hedgerow("compare", "runs/private", "runs/secure", "--json").stdout)
    assert 0 < masked["epsilon"] <= 2.5
    lines = RunFolder(Path("runs/secure")).rounds()
    assert [line["secure"] for line in lines] == ["masked"] * 2
    assert all(not line["failed"] and line["metrics"] == {} for line in lines)
    assert "epsilon" in Path("runs/secure/report.html").read_text()
    assert central["epsilon"] > 0
    assert "secure_dp_fedavg" in hedgerow("list", "strategies").stdout


def test_an_audit_of_a_run_tells_its_verdict_and_draws_it() -> None:
    Path("private.toml").write_text(PRIVATE)
    assert hedgerow("run", "private.toml", "rounds=2", "--workers", "1").exit_code == 0
    result = hedgerow("audit", "runs/private", "--out", "heard")
    assert result.exit_code == 0, result.output
    assert "Nothing speaks against epsilon" in result.stdout
    assert Path("heard/audit.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(Path("heard/audit.json").read_text())
    assert found["passed"]
    assert [f["name"] for f in found["findings"]] == [
        "canaries",
        "sensitivity",
        "noise",
        "freshness",
        "sampling",
    ]


def test_what_is_not_private_is_not_audited() -> None:
    result = hedgerow("audit", "heart")
    assert result.exit_code != 0
    assert "is not private" in result.stderr
