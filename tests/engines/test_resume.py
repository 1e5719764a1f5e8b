"""One seed gives one final model, however often the run is killed."""

import random
import signal
import time
from pathlib import Path

import pytest

from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.experiments.runs.store import RunFolder
from tests import forked

KILLS = 10
ROUNDS = 120

# A residual on the clients and two moments on the server: everything that a run carries along.
CONFIG = f"""
seed = 3
rounds = {ROUNDS}
[data]
name = "fashion-mnist"
[data.partition]
name = "dirichlet"
clients = 40
alpha = 0.5
[model]
name = "logistic"
[strategy]
name = "fedadam"
clients_per_round = 5
pipeline = "error_feedback(top_k(0.02), quantize(6))"
downlink = "error_feedback(top_k(0.2))"
[evaluation]
every = 40
"""

RUN = """
import sys
from pathlib import Path
from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.runs.run import run_experiment
run_experiment(load(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "experiment.toml"
    file.write_text(CONFIG)
    return file


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """The run that nobody disturbed."""
    return run_experiment(load(config), tmp_path_factory.mktemp("whole") / "run")


def without_times(run: RunFolder) -> list[dict]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in run.rounds()]


def test_twice_gives_the_same_model_and_the_same_figures_and_another_seed_another_model(config, tmp_path):
    """After ten rounds; after all of them, in two processes, is what the test below compares."""
    one, again, other = (
        run_experiment(load(config, ["rounds=10", f"seed={seed}"]), tmp_path / str(number))
        for number, seed in enumerate((3, 3, 4))
    )
    assert again.model.read_bytes() == one.model.read_bytes()
    assert without_times(again) == without_times(one)
    assert other.model.read_bytes() != one.model.read_bytes()


@pytest.mark.slow
def test_killed_at_ten_random_moments_and_resumed_it_ends_with_the_same_model(config, whole, tmp_path):
    folder, moments = tmp_path / "run", random.Random(20261122)
    for _ in range(KILLS):
        rounds = moments.randint(1, ROUNDS // KILLS - 4)
        killed_while_running(config, folder, rounds, moments.uniform(0, 0.03), tmp_path / "stderr")
    assert not (folder / "model.safetensors").exists()
    last = forked.run(RUN, config, folder)
    assert (last.returncode, "Traceback" in last.stderr) == (0, False), last.stderr
    resumed = RunFolder(folder)
    assert resumed.model.read_bytes() == whole.model.read_bytes()
    assert without_times(resumed) == without_times(whole)
    assert not list(folder.rglob("*.partial")), "litter of a killed write is swept up"


def killed_while_running(config: Path, folder: Path, rounds: int, seconds: float, stderr: Path) -> None:
    """Run in a process of its own; kill -9 it some rounds and a moment later."""
    metrics = folder / "metrics.jsonl"

    def lines() -> int:
        return metrics.read_bytes().count(b"\n") if metrics.exists() else 0

    before = lines()
    process = forked.start(RUN, config, folder, err=stderr)
    try:
        deadline = time.monotonic() + 600
        while lines() < before + rounds:
            assert process.is_alive(), stderr.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(seconds)
        assert process.is_alive(), "the run ended before it was killed"
    finally:
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
