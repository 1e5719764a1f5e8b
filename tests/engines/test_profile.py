"""Where the time of a run goes: measured on every way of running clients, and changing nothing."""

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import hedgerow as hr
from hedgerow import spans
from hedgerow.experiments.cli.main import app
from hedgerow.experiments.cli.progress import Pace
from hedgerow.experiments.cli.terminal import profile_table
from hedgerow.experiments.runs.profile import Profile
from hedgerow.types import FailedFit, Fit
from tests.laws.test_spans import check_trace
from tests.support import MeanTrainer, clients

ROOT = Path(__file__).parents[2]
linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")


class Together(MeanTrainer):
    """Trains several at once."""

    supports = frozenset({"many"})

    def fit_many(self, model, clients, local, *, seed, round) -> Iterator[tuple[str, Fit | FailedFit]]:
        for name, data in reversed(clients):
            yield name, self.fit(model, data, local, seed=seed, round=round, client=name)


def run(trainer: MeanTrainer, workers: int) -> list[tuple[object, ...]]:
    data = clients(20)
    strategy = hr.fedavg(sampling=hr.uniform(10), pipeline=hr.error_feedback(hr.top_k(0.2), hr.quantize(8)))
    test = data.samples("client-003")
    results = hr.simulate(trainer, data, strategy, rounds=4, test=test, workers=workers)
    return [(r.state.model.parameters.tobytes(), r.cohort, dict(r.evaluation), r.bytes_up) for r in results]


@linux
@pytest.mark.parametrize("trainer", [MeanTrainer, Together])
@pytest.mark.parametrize("workers", [1, 2])
def test_profiling_changes_nothing_and_every_second_is_accounted_for(trainer, workers, tmp_path):
    with hr.profile() as found:
        profiled = run(trainer(), workers)
    assert profiled == run(trainer(), workers) == run(MeanTrainer(), 1)
    times = found.times()
    assert times is not None
    assert (times.rounds, times.workers) == (4, 2 if workers == 2 else 0)
    assert sum(times.server.values()) == pytest.approx(times.seconds)
    assert sum(times.clients.values()) == pytest.approx(times.workers * times.seconds)
    assert min([*times.server.values(), *times.clients.values()]) > -1e-9
    where = times.clients if workers == 2 else times.server
    assert {"train", "data", "encode", "records", "aggregate"} <= set(where)
    assert {"aggregate", "evaluate"} <= set(times.server)
    assert ("idle" in times.server) == (workers == 2)
    counts = {name: sum(s.name == name for s in found.spans) for name in ("train", "encode", "evaluate")}
    assert counts == {"train": 40, "encode": 40, "evaluate": 4}

    found.write_trace(tmp_path / "trace.json")
    events = check_trace(tmp_path / "trace.json")
    assert len({event["pid"] for event in events}) == (3 if workers == 2 else 1)


def test_nothing_is_recorded_outside():
    with hr.profile() as found:
        pass
    run(MeanTrainer(), 1)
    assert found.spans == []
    assert not spans.recording()


@linux
@pytest.mark.parametrize("options", [("--workers", "1"), ("--workers", "2")])
def test_run_shows_a_table_and_writes_a_trace(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain = CliRunner().invoke(app, ["run", "heart", "rounds=3", "--out", "plain", *options])
    done = CliRunner().invoke(app, ["run", "heart", "rounds=3", "--out", "mine", "--profile", *options])
    assert done.exit_code == plain.exit_code == 0, done.output
    assert "where the time went: 3 rounds in" in done.stdout
    assert "train" in done.stdout
    assert "before the first client:" in done.stdout
    for number in (1, 2, 3):
        assert re.search(rf"^round {number} of 3  [\d.]+ clients/s", done.stderr, re.MULTILINE)
    assert "imports" in done.stdout
    assert "trace: mine/trace.json" in done.stderr
    names = {event["name"] for event in check_trace(Path("mine/trace.json"))}
    assert {"imports", "load data", "make model", "round", "train", "save"} <= names
    assert "trace.json" not in {file.name for file in Path("plain").iterdir()}
    assert Path("mine/model.safetensors").read_bytes() == Path("plain/model.safetensors").read_bytes()

    again = CliRunner().invoke(app, ["resume", "mine", "--profile", "--json"])
    assert again.exit_code == 0
    assert json.loads(again.stdout)[0]["rounds"] == 3
    assert "no client was run: there is nothing to profile" in again.stderr


@linux
def test_a_choice_of_the_trainer_is_part_of_the_start(tmp_path):
    task = hr.Task(model=lambda: __import__("torch").nn.Linear(4, 2))
    rng = np.random.default_rng(0)
    data = hr.from_arrays(rng.normal(size=(80, 4)).astype("float32"), rng.integers(2, size=80))
    federation = data.split(hr.iid(clients=8))
    with hr.profile() as found:
        for _ in hr.simulate(task, federation, hr.fedavg(), rounds=1, workers=2, trainer="auto"):
            pass
    times = found.times()
    assert times is not None
    assert times.starting["choose trainer"] > 0
    assert "choose trainer" not in times.stages


@linux
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_flower_app_is_profiled_by_the_type_of_its_messages(workers, tmp_path):
    command = ["simulate", str(ROOT / "tests" / "engines" / "tiny-app"), "--clients", "3"]
    command += ["--workers", workers, "--profile", "trace.json", "-c", "rounds=2"]
    done = subprocess.run(
        [sys.executable, "-c", "from hedgerow.experiments.cli.main import main; main()", *command],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "where the time went: " in done.stdout
    events = check_trace(tmp_path / "trace.json")
    assert {"imports", "server app", "train"} <= {event["name"] for event in events}
    assert len({event["pid"] for event in events}) == (3 if workers == "2" else 1)


@linux
def test_on_a_terminal_progress_is_a_live_line(tmp_path):
    mine, its = pty.openpty()
    command = [sys.executable, "-c", "from hedgerow.experiments.cli.main import main; main()", "run", "heart"]
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*command, "rounds=60", "--workers", "1"], cwd=tmp_path, env=env,
        stdin=its, stdout=subprocess.DEVNULL, stderr=its,
    ) as process:  # fmt: skip
        os.close(its)
        shown = b""
        with contextlib.suppress(OSError):  # so a terminal ends
            while part := os.read(mine, 65536):
                shown += part
    os.close(mine)
    assert process.returncode == 0
    text = re.sub(rb"\x1b\[[\d;?]*[A-Za-z]", b"", shown).decode()
    assert re.search(r"heart .*\b0/60", text)
    assert re.search(r"60/60 +[\d.]+ clients/s", text)
    assert not re.search(r"^round \d+ of 60", text, re.MULTILINE)


def test_the_pace_is_that_of_the_last_rounds():
    pace = Pace(rounds=1000)
    for number in range(1, 30):
        pace.after(number, clients=10, seconds=100.0)
    for number in range(30, 60):
        said = pace.after(number, clients=10, seconds=2.0)
    assert said == "5.0 clients/s, 31:22 to go"
    assert pace.after(1000, clients=10, seconds=2.0) == "5.0 clients/s"


def test_the_table_shows_fractions_that_add_up():
    found = Profile(
        [
            spans.Span("clients", 0, 60, 1, 1),
            spans.Span("train", 0, 50, 1, 1),
            spans.Span("save", 60, 100, 1, 1),
        ],
        began=0,
        process=1,
    )
    times = found.times()
    assert times is not None
    table = profile_table(times)
    rows = list(zip(*(list(column.cells) for column in table.columns), strict=True))
    assert [(row[0], row[2]) for row in rows] == [
        ("train", "50.0%"), ("save", "40.0%"), ("other", "10.0%"), ("all", "100.0%"),
    ]  # fmt: skip
