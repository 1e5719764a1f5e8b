"""Make the folders beside this file with the code of 0.1, which `test_runs_of_0_1.py` reads.

    git worktree add --detach OLD 43a278a
    cd OLD && PYTHONPATH=. python .../tests/golden/runs-0.1/make.py .../tests/golden/runs-0.1

Each run is stopped in its last round. What a copy of it came to that 0.1 itself let go on is beside
it: `expected.safetensors`, the final model, and `expected.json`, all that was measured but the times.
"""

import json
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

TABLE = {
    "seed": 7,
    "rounds": 3,
    "data": {"name": "heart-disease", "partition": {"name": "iid", "clients": 10}},
    "model": {"name": "logistic"},
    "local": {"batch_size": 32},
}
PRIVATE_SAMPLES = {"clip_samples": 1.0, "sample_noise": 1.0, "sample_rate": 0.5, "sample_delta": 1e-3}
RUNS = {
    "plain": {"strategy": {"clients_per_round": 3}},
    "scaffold": {"strategy": {"name": "scaffold", "clients_per_round": 3}},
    "error-feedback": {
        "strategy": {"clients_per_round": 3, "pipeline": "error_feedback(top_k(0.1), quantize(8))"}
    },
    "adam": {"strategy": {"name": "fedadam", "clients_per_round": 3}},
    "private": {"strategy": {"name": "dp_fedavg", "clients_per_round": 2, "population": 10, "delta": 0.01}},
    "masked": {"strategy": {"name": "secure_fedavg", "clients_per_round": 10}},
    "samples": {"strategy": {"clients_per_round": 1}, "local": {**TABLE["local"], **PRIVATE_SAMPLES}},
}


class Stop(Exception):
    """Raised in the last round, as if the process were killed."""


def stop(result: object) -> None:
    """End a run before the state of its last round is saved."""
    if result.round == TABLE["rounds"]:
        raise Stop


def main(here: Path) -> None:
    """Make all of them anew."""
    # Only 0.1 has these modules: imported here, so that this file itself can be.
    from hedgerow.experiments.grid import expand
    from hedgerow.experiments.recipe import load_table, recipe_text, recipes
    from hedgerow.experiments.run import run_experiment
    from hedgerow.experiments.sweep import FILE

    for name, parts in RUNS.items():
        experiment = load_table({"name": name, **TABLE, **parts})
        folder = here / name
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(Stop):
            run_experiment(experiment, folder, stop)
        with tempfile.TemporaryDirectory() as scratch:
            ended = Path(shutil.copytree(folder, Path(scratch) / name))
            run = run_experiment(experiment, ended)
            shutil.copyfile(run.model, folder / "expected.safetensors")
            rounds = [{key: v for key, v in line.items() if key != "seconds"} for line in run.rounds()]
        (folder / "expected.json").write_text(json.dumps(rounds) + "\n")
    # A sweep of which one run has ended.
    sweep = expand(
        {"name": "sweep", **TABLE, "rounds": 1}, {"strategy.pipeline": ["float32()", "quantize(8)"]}
    )
    shutil.rmtree(here / "sweep", ignore_errors=True)
    for cell in sweep.cells:
        run_experiment(cell.experiment, here / "sweep" / cell.folder)
    (here / "sweep" / FILE).write_text(sweep.toml)
    (here / "recipes").mkdir(exist_ok=True)
    for name in recipes():
        (here / "recipes" / f"{name}.toml").write_text(recipe_text(name))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
