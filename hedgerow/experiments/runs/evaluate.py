"""Evaluate the model of a run on its clients' held-out samples."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from flwr.serverapp import Grid

from hedgerow.client.app import client_app
from hedgerow.client.trainer import Trainer
from hedgerow.experiments.config.errors import StoreError
from hedgerow.experiments.config.expand import Sweep
from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.config.schema import Experiment
from hedgerow.experiments.runs.simulate import measuring_trainer
from hedgerow.experiments.runs.store import RunFolder
from hedgerow.server.broadcast import Broadcasts
from hedgerow.server.checkpoint import load_model
from hedgerow.server.evaluation import EvaluationPlan, check_plan
from hedgerow.server.kinds import measures_of
from hedgerow.server.rounds import begin
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.types import Deployment, Model, RunOptions
from hedgerow.types.evaluation import ClientEvaluation, SummedEvaluation


def evaluate_run(
    folder: Path, fraction: float = 1.0, *, workers: int = 1
) -> ClientEvaluation | SummedEvaluation:
    """Evaluate a run's model on its clients, simulated on this machine.

    Args:
        folder: of the run.
        fraction: of its clients, drawn as in its last round; 1 for all.
        workers: number of processes, which affects no figure.

    Raises:
        StoreError: there is no run in the folder, or it has no model yet.
        ValueError: its clients hold no samples out, or its strategy promises an epsilon.
    """
    experiment = experiment_of(folder)
    plan, strategy = EvaluationPlan(fraction), experiment.strategy()
    check_plan(plan, strategy)
    check_held_out(folder, experiment)
    trainer = measuring_trainer(experiment)
    model = load_model(folder, trainer.layout)
    state = replace(begin(strategy, model, trainer.layout), round=experiment.rounds)
    with simulated_clients(folder, experiment, trainer, model, workers=workers) as (grid, nodes):
        measure = measures_of(
            plan, strategy, grid, strategy.split(trainer.layout).shared,
            RunOptions(deployment=Deployment.SIMULATED), Broadcasts(), seed=experiment.seed,
        )  # fmt: skip
        return measure(state, nodes)


def check_held_out(folder: Path, experiment: Experiment) -> None:
    """Raise `ValueError` if clients hold nothing out."""
    if experiment.data.held_out is None:
        raise ValueError(
            f"the clients of {folder} held no samples out: its model was trained on all of them; run it"
            " again with data.held_out=0.2"
        )


@contextmanager
def simulated_clients(
    folder: Path, experiment: Experiment, trainer: Trainer, initial: Model, *, workers: int
) -> Iterator[tuple[Grid, dict[str, int]]]:
    """The clients of a run with their state, simulated on this machine.

    Yields:
        The grid, and the node of each client by name, sorted.
    """
    federation = experiment.federation()
    app = client_app(
        trainer, federation, experiment.strategy(),
        state_folder=folder / "clients", deployment=Deployment.SIMULATED, guard=None, initial=initial,
    )  # fmt: skip
    grid = InProcessGrid(app, len(federation), names=federation.names, workers=workers)
    nodes = dict(zip(federation.names, grid.get_node_ids(), strict=True))
    with grid.running():
        yield grid, dict(sorted(nodes.items()))


def experiment_of(folder: Path) -> Experiment:
    """The experiment of a run that has a model.

    Raises:
        StoreError: there is no run in the folder, or it has no model yet.
    """
    run = RunFolder(folder)
    if not run.model.is_file():
        raise StoreError(f"{folder} has no model yet; continue with: hedgerow resume {folder}")
    return begun_experiment(folder)


def begun_experiment(folder: Path) -> Experiment:
    """The experiment of a run; raises `StoreError` if the folder has none."""
    experiment = load(RunFolder(folder).path)
    assert not isinstance(experiment, Sweep)  # a run's configuration has no [sweep]
    return experiment
