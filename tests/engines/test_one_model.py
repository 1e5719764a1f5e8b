"""One seed gives one final model, bit for bit, wherever the clients run: see `federation` and `ray`."""

from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.runs.run import run_experiment
from tests.engines.stateful_run import OVERRIDES, RECIPE


def test_the_run_that_is_compared_depends_on_what_the_clients_carry_along(in_process, tmp_path):
    stateless = [text.replace("error_feedback", "chain") for text in OVERRIDES]
    other = run_experiment(load(RECIPE, stateless), tmp_path / "run")
    assert other.model.read_bytes() != in_process.model.read_bytes()
