"""Flower's own strategies run unchanged on the in-process grid, and give what its Ray engine gives."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hedgerow.simulation.grid import InProcessGrid, run_server_app
from tests.engines import flower_apps

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def in_process_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray[Any, Any]]:
    out = tmp_path_factory.mktemp("in-process") / "models.npz"
    grid = InProcessGrid(flower_apps.client_app(), flower_apps.CLIENTS)
    run_server_app(flower_apps.server_app(out), grid)
    return dict(np.load(out))


def test_flowers_strategies_learn_on_the_in_process_grid(in_process_models: dict[str, Any]) -> None:
    assert sorted(in_process_models) == ["fedadam", "fedavg", "krum", "unordered"]
    parts = [flower_apps.samples(i) for i in range(flower_apps.CLIENTS)]
    x, y = (np.concatenate(side) for side in zip(*parts, strict=True))
    for name, model in in_process_models.items():
        loss = float(((x @ model[:4] + model[4] - y) ** 2).mean())
        assert loss < 0.8 * float((y**2).mean()), name
    # Flower asks in a random order, and a float sum depends on it, but only by round-off.
    np.testing.assert_allclose(in_process_models["unordered"], in_process_models["fedavg"], rtol=1e-6)
    assert (in_process_models["krum"] != in_process_models["fedavg"]).all()


@pytest.mark.slow
def test_flowers_strategies_give_the_same_model_on_ray(
    in_process_models: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "models.npz"
    done = subprocess.run(
        [sys.executable, "-m", "tests.engines.flower_apps", str(out)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_DEDUP_LOGS": "0", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    on_ray = np.load(out)
    for name in ("fedavg", "fedadam", "krum"):
        assert on_ray[name].tobytes() == in_process_models[name].tobytes(), name
    np.testing.assert_allclose(on_ray["unordered"], in_process_models["unordered"], rtol=1e-6)
