"""What is the same on Flower's own simulation, which runs clients on Ray, as in this process."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow.experiments.runs.store import RunFolder
from tests.engines.ray.program import program
from tests.engines.simulate_command import CNN, SHAPES, TINY, changed_copy, result, simulate
from tests.engines.stateful_run import CLIENTS, figures, run_config


def test_a_recipe_gives_the_same_model(in_process, tmp_path):
    config = tmp_path / "run-config.json"
    config.write_text(json.dumps(run_config(tmp_path / "run")))
    said = program("ray.recipe_on_ray", str(CLIENTS), str(config))
    on_ray = RunFolder(tmp_path / "run")
    assert on_ray.model.read_bytes() == in_process.model.read_bytes(), said
    assert figures(on_ray) == figures(in_process)


def test_flowers_strategies_give_the_same_model(in_process_models: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "models.npz"
    program("flower_apps", str(out), OMP_NUM_THREADS="1")
    on_ray = np.load(out)
    for name in ("fedavg", "fedadam", "krum"):
        assert on_ray[name].tobytes() == in_process_models[name].tobytes(), name
    np.testing.assert_allclose(on_ray["unordered"], in_process_models["unordered"], rtol=1e-6)


def test_queries_split_learning_mods_and_an_own_strategy_are_the_same(tmp_path: Path) -> None:
    ours = result(simulate(SHAPES, "--clients", "3", "--workers", "1", cwd=tmp_path))
    options = ("--engine", "flower", "--workers", "2")
    assert result(simulate(SHAPES, "--clients", "3", *options, cwd=tmp_path)) == ours


ROUNDING = 1e-4
"""Of a tensor's largest value. Three rounds add three float32 models in some order, each sum off by at most
3 * 2**-24; a hundred steps of training may make that some hundred times larger, and no more."""


def test_an_unchanged_app_gives_the_same_model_bit_for_bit_and_on_ray_to_rounding(tmp_path: Path) -> None:
    """Half of the clients are sampled each round, with `random`; every client reseeds it.

    Flower's engine hands replies over, and its strategy adds them up, as they come in.
    """
    models = {}
    for name, options in {
        "one": ("--workers", "1"),
        "two": ("--workers", "2"),
        "ray": ("--engine", "flower", "--workers", "2"),
    }.items():
        done = simulate(CNN, *options, "-c", f"out='{name}.npz' num-server-rounds=3", cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert " 9 messages, " in done.stdout
        models[name] = dict(np.load(tmp_path / f"{name}.npz"))
    assert len(models["one"]) == 8 + 3
    assert models["one"].keys() == models["two"].keys() == models["ray"].keys()
    for key, value in models["one"].items():
        assert value.tobytes() == models["two"][key].tobytes(), key
        bound = ROUNDING * np.abs(value).max()
        np.testing.assert_allclose(models["ray"][key], value, rtol=0, atol=bound, err_msg=key)
    # Not all in every round, and not the same in every round: sampling was at work.
    asked = [float(models["one"][f"metrics {r}"][-1]) for r in (1, 2, 3)]
    assert asked[0] == 1.0
    assert 1.0 < asked[2] < 3.0


def test_on_flowers_engine_a_failing_app_gives_exit_code_1_too(tmp_path: Path) -> None:
    done = simulate(TINY, "--clients", "3", "-c", "fail=true", "--engine", "flower", cwd=tmp_path)
    assert done.returncode == 1
    assert "RuntimeError: asked to fail" in done.stderr


def test_flowers_engine_has_a_ray_of_its_own_beside_a_cluster(tmp_path: Path) -> None:
    """Ray would join the cluster that this address, or a file that a running one leaves, points to."""
    options = ("--clients", "3", "--engine", "flower", "--workers", "1")
    done = simulate(TINY, *options, cwd=tmp_path, env={"RAY_ADDRESS": "127.0.0.1:9"})
    assert result(done) == {"values": [4.5, 3.0], "word": "hello"}


def test_on_flowers_engine_the_server_begins_when_all_nodes_are_there(tmp_path: Path) -> None:
    """Flower registers them one by one beside the server app, which would sample from those there by then."""
    old = 'if context.run_config["fail"]:'
    app = changed_copy(tmp_path / "app", old, f"print('NODES', len(list(grid.get_node_ids())))\n    {old}")
    options = ("--clients", "5000", "--engine", "flower", "--workers", "1", "-c", "fail=true")
    done = simulate(app, *options, cwd=tmp_path)
    assert "NODES 5000" in done.stdout
