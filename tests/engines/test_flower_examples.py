"""Apps in the shapes of Flower's own examples, with 1 and 2 workers and on Flower's engine."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray")


def outcome(app: str, *options: str, cwd: Path) -> Any:
    command = "from hedgerow.experiments.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "simulate", str(HERE / app), *options],
        cwd=cwd,
        env={**os.environ, "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    return json.loads(line.removeprefix("RESULT "))


def test_queries_split_learning_mods_and_an_own_strategy_do_not_depend_on_workers(tmp_path: Path) -> None:
    one = outcome("shapes-app", "--clients", "3", "--workers", "1", cwd=tmp_path)
    assert sum(one["histogram"]) == 3 * 40 * 2
    assert one["losses"] == sorted(one["losses"], reverse=True)
    assert len(set(one["losses"])) == 3
    assert one["asked"] == 2 * 3
    assert 0.0 == one["norms"][0] < one["norms"][1] < one["norms"][2]
    steps = "query.embed train.backward " * 3
    assert one["types"] == [f"query {steps}train evaluate train evaluate query.types"]
    assert one["begun"] == [1 + 6 + 4 + 1] * 3
    assert outcome("shapes-app", "--clients", "3", "--workers", "2", cwd=tmp_path) == one


@needs_ray
@pytest.mark.slow
def test_queries_split_learning_mods_and_an_own_strategy_are_the_same_on_ray(tmp_path: Path) -> None:
    ours = outcome("shapes-app", "--clients", "3", "--workers", "1", cwd=tmp_path)
    options = ("--engine", "flower", "--workers", "2")
    assert outcome("shapes-app", "--clients", "3", *options, cwd=tmp_path) == ours


@pytest.mark.slow
def test_flowers_secure_aggregation_goes_on_without_a_client_that_is_too_slow(tmp_path: Path) -> None:
    mean = outcome("secagg-app", "--clients", "5", "--workers", "2", cwd=tmp_path)
    assert mean == pytest.approx([(1 + 2 + 3 + 4) / 4] * 3, abs=1e-3)
