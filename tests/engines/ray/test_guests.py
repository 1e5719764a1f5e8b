"""Rules and parts that another package may bring, on Flower's own engine: the bits of this process."""

import json
import os

import numpy as np

from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.experiments.runs.store import RunFolder
from hedgerow.simulation.grid import InProcessGrid
from tests.engines.ray.program import program
from tests.engines.ray.rules_on_ray import CLIENT_APP, CLIENTS, RULES, models
from tests.engines.stateful_run import figures, run_config
from tests.guests import INSTALLED, ROOT, install

RECIPE = ROOT / "tests" / "guests" / "recipe.toml"


def test_parts_of_another_package_give_the_same_model_on_flowers_engine(tmp_path, monkeypatch):
    install(monkeypatch)
    experiment = load(RECIPE)
    here = run_experiment(experiment, tmp_path / "here")
    config = tmp_path / "run-config.json"
    config.write_text(json.dumps(run_config(tmp_path / "ray", str(RECIPE), [])))
    path = os.pathsep.join((str(ROOT), str(INSTALLED)))
    said = program("ray.recipe_on_ray", "3", str(config), PYTHONPATH=path)
    there = RunFolder(tmp_path / "ray")
    assert there.model.read_bytes() == here.model.read_bytes(), said
    assert figures(there) == figures(here)


def test_robust_rules_give_the_same_models_on_flowers_engine(tmp_path):
    with InProcessGrid(CLIENT_APP, CLIENTS) as grid:
        here = models(grid)
    out = tmp_path / "models.npz"
    program("ray.rules_on_ray", str(out))
    there = np.load(out)
    assert sorted(there) == sorted(here) == sorted(RULES)
    for rule in RULES:
        assert there[rule].tobytes() == here[rule].tobytes(), rule
    assert len({values.tobytes() for values in here.values()}) == len(RULES)
