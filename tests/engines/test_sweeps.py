"""A sweep that is killed, or runs more at a time, gives the table of one that is left alone."""

import json
import os
import signal
from pathlib import Path

import pytest

from hedgerow.rng import generator
from tests.api.commands.command import ROOT, start, wait_until
from tests.scheduled import TINY

SWEEP = (
    TINY.replace("rounds = 4", "rounds = 3")
    + """
[search]
draws = 6
[sweep]
"local.learning_rate" = "log_uniform(0.001, 1.0)"
"strategy.pipeline" = ["float32()", "error_feedback(top_k(0.5), quantize(4))"]
seed = [0, 1]
"""
)
RUNS, ROUNDS = 24, 3


@pytest.fixture(autouse=True)
def in_a_folder_with_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    Path("many.toml").write_text(SWEEP, encoding="utf-8")


def table(text: str) -> list[dict[str, object]]:
    """The rows of `--json`, without the wall time."""
    rows = json.loads(text)
    assert len(rows) == RUNS / 2
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def measured(folder: str) -> int:
    return sum(file.read_bytes().count(b"\n") for file in Path(folder).glob("*/metrics.jsonl"))


@pytest.mark.slow
def test_a_sweep_killed_three_times_and_with_two_jobs_gives_the_table_of_an_undisturbed_one() -> None:
    whole = start("sweep", "many.toml", "--jobs", "1", "--out", "whole", "--json")
    stdout, stderr = whole.communicate(timeout=600)
    assert whole.returncode == 0, stderr
    moments = sorted(generator(14, "moments").choice(range(1, RUNS * ROUNDS - 4), 3, replace=False).tolist())
    for number, moment in enumerate(moments):
        killed = start("sweep", "many.toml", "--jobs", str(1 + number % 2), "--out", "killed")
        wait_until(lambda moment=moment: measured("killed") >= moment, killed)
        os.kill(killed.pid, signal.SIGKILL)
        killed.communicate(timeout=60)
        assert measured("killed") < RUNS * ROUNDS, "it was over before it could be killed"
    last = start("sweep", "many.toml", "--jobs", "2", "--out", "killed", "--json")
    again, stderr = last.communicate(timeout=600)
    assert last.returncode == 0, stderr
    assert table(again) == table(stdout)
    for model in sorted(Path("whole").glob("*/model.safetensors")):
        assert (Path("killed") / model.parent.name / model.name).read_bytes() == model.read_bytes()
