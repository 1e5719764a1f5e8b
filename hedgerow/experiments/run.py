"""Run one experiment into its folder, on this machine or on any Flower grid."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from flwr.serverapp import Grid

from hedgerow.client.torch_trainer import TorchTrainer
from hedgerow.experiments.config import Experiment, to_toml
from hedgerow.experiments.simulate import simulate
from hedgerow.experiments.store import RunFolder, line_of
from hedgerow.server.app import train
from hedgerow.types import RoundResult


def run_experiment(
    experiment: Experiment,
    folder: Path,
    on_round: Callable[[RoundResult], None] | None = None,
    *,
    grid: Grid | None = None,
    workers: int = 1,
    masks: bool = False,
    register: Mapping[str, bytes] | None = None,
) -> RunFolder:
    """Run an experiment, or go on with it where it was; does nothing when it has finished.

    Args:
        experiment: what to run.
        folder: the run's folder, made where it is not there.
        on_round: is called with the result of each round.
        grid: where the clients are; `None` simulates them on this machine. On
            a grid, the run waits until all of the experiment's clients are there.
        workers: processes that simulate clients; their number shows in no result.
        masks: run secure aggregation as a whole also where clients are simulated, see `simulate`.
        register: identity keys of clients, pinned by the server of a grid too.

    Raises:
        StoreError: another run lies in the folder.
        ValueError: the data or the model cannot be had as configured.
        OSError: the final model cannot be written; the last checkpoint stays.
    """
    run = RunFolder.create(folder, to_toml(experiment))
    if run.finished:
        return run
    for result in (
        _simulated(experiment, run, workers, masks)
        if grid is None
        else _served(experiment, run, grid, register)
    ):
        run.append(line_of(result))
        if on_round is not None:
            on_round(result)
    return run


def _simulated(experiment: Experiment, run: RunFolder, workers: int, masks: bool) -> Iterator[RoundResult]:
    federation = experiment.federation()
    return simulate(
        experiment.task(),
        federation,
        experiment.strategy(),
        rounds=experiment.rounds,
        test=federation.dataset.test,
        seed=experiment.seed,
        folder=run.path,
        evaluate_every=experiment.evaluation.every,
        workers=workers,
        masks=masks,
    )


def _served(
    experiment: Experiment, run: RunFolder, grid: Grid, register: Mapping[str, bytes] | None
) -> Iterator[RoundResult]:
    trainer, federation = TorchTrainer(experiment.task()), experiment.federation()
    return train(
        grid,
        experiment.strategy(),
        trainer.initial(experiment.seed),
        trainer.layout,
        num_rounds=experiment.rounds,
        seed=experiment.seed,
        folder=run.path,
        evaluate=lambda model: trainer.evaluate(model, federation.dataset.test),
        evaluate_every=experiment.evaluation.every,
        min_clients=len(federation),
        register=register,
    )
