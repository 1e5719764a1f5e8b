"""One seed gives one final model, bit for bit, wherever the clients run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hedgerow.experiments.recipe import load
from hedgerow.experiments.run import run_experiment
from hedgerow.experiments.store import RunFolder
from tests.engines.federation import federation

ROOT = Path(__file__).parents[2]
CLIENTS = 3
RECIPE = "fashion-mnist"
# Two of three clients are drawn in each round, and each carries a residual and a control variate along.
OVERRIDES = [
    "rounds=3",
    f"data.partition.clients={CLIENTS}",
    "strategy.name=scaffold",
    "strategy.clients_per_round=2",
    "strategy.pipeline=error_feedback(top_k(0.05), quantize(8))",
    "local.epochs=1",
]


@pytest.fixture(scope="module")
def in_process(tmp_path_factory) -> RunFolder:
    return run_experiment(load(RECIPE, OVERRIDES), tmp_path_factory.mktemp("in-process") / "run")


def run_config(out: Path) -> dict[str, str]:
    return {"recipe": RECIPE, "overrides": " ".join(f"'{text}'" for text in OVERRIDES), "out": str(out)}


def figures(run: RunFolder) -> list[dict]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in run.rounds()]


def test_this_run_depends_on_what_the_clients_carry_along(in_process, tmp_path):
    stateless = [text.replace("error_feedback", "chain") for text in OVERRIDES]
    other = run_experiment(load(RECIPE, stateless), tmp_path / "run")
    assert other.model.read_bytes() != in_process.model.read_bytes()


@pytest.mark.slow
def test_flowers_ray_engine_gives_the_same_model(in_process, tmp_path):
    config = tmp_path / "run-config.json"
    config.write_text(json.dumps(run_config(tmp_path / "run")))
    done = subprocess.run(
        [sys.executable, "-m", "tests.engines.on_ray", str(CLIENTS), str(config)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    on_ray = RunFolder(tmp_path / "run")
    assert on_ray.model.read_bytes() == in_process.model.read_bytes(), done.stderr
    assert figures(on_ray) == figures(in_process)


@pytest.mark.slow
def test_a_real_federation_gives_the_same_model(in_process, tmp_path):
    with federation(tmp_path / "federation", nodes=CLIENTS) as real:
        outcome = real.run(ROOT, run_config(tmp_path / "run"))
    assert outcome.status == "completed", outcome.log
    served = RunFolder(tmp_path / "run")
    assert served.model.read_bytes() == in_process.model.read_bytes(), outcome.log
    assert figures(served) == figures(in_process)
