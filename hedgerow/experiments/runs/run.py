"""Run one experiment into its folder, on this machine, a Ray cluster or any Flower grid."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from flwr.serverapp import Grid

from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.experiments.config.schema import Experiment, to_toml
from hedgerow.experiments.runs.simulate import simulate
from hedgerow.experiments.runs.store import RunFolder, line_of
from hedgerow.server.app import train
from hedgerow.spans import span
from hedgerow.types import Model, RoundResult


def run_experiment(
    experiment: Experiment,
    folder: Path,
    on_round: Callable[[RoundResult], None] | None = None,
    *,
    grid: Grid | None = None,
    workers: int | None = None,
    client_timeout: float | None = None,
    memory_limit: int | None = None,
    engine: str = "local",
    address: str | None = None,
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
            By default 1, on a cluster as many as it has CPUs.
        client_timeout: seconds a simulated client may take; `None` for no limit.
        memory_limit: bytes that a simulated client's process may allocate; `None` for no limit.
        engine: `"local"` or `"ray"`, as for `simulate`.
        address: of the Ray cluster.
        masks: run secure aggregation as a whole also where clients are simulated, see `simulate`.
        register: identity keys of clients, pinned by the server of a grid too.

    Raises:
        StoreError: another run lies in the folder.
        ValueError: the data or the model cannot be had as configured.
        ModuleNotFoundError, ConnectionError: the Ray cluster cannot be had.
        OSError: the final model cannot be written; the last checkpoint stays.
    """
    run = RunFolder.create(folder, to_toml(experiment))
    if run.finished:
        return run
    if grid is None:
        options = {"workers": workers, "client_timeout": client_timeout, "memory_limit": memory_limit}
        results = _simulated(experiment, run, **options, engine=engine, address=address, masks=masks)
    else:
        results = _served(experiment, run, grid, register)
    for result in results:
        run.append(line_of(result))
        if on_round is not None:
            on_round(result)
    return run


def _simulated(experiment: Experiment, run: RunFolder, **options: Any) -> Iterator[RoundResult]:
    with span("load data"):
        federation = experiment.federation()
    with span("make model"):
        task = experiment.task()
    return simulate(
        task,
        federation,
        experiment.strategy(),
        rounds=experiment.rounds,
        test=federation.dataset.test if _measured(experiment) else None,
        seed=experiment.seed,
        folder=run.path,
        evaluate_every=experiment.evaluation.every,
        **options,
    )


def _served(
    experiment: Experiment, run: RunFolder, grid: Grid, register: Mapping[str, bytes] | None
) -> Iterator[RoundResult]:
    trainer, federation = TorchTrainer(experiment.task()), experiment.federation()

    def measure(model: Model) -> dict[str, float]:
        return trainer.evaluate(model, federation.dataset.test)

    return train(
        grid,
        experiment.strategy(),
        trainer.initial(experiment.seed),
        trainer.layout,
        num_rounds=experiment.rounds,
        seed=experiment.seed,
        folder=run.path,
        evaluate=measure if _measured(experiment) else None,
        evaluate_every=experiment.evaluation.every,
        min_clients=len(federation),
        register=register,
    )


def _measured(experiment: Experiment) -> bool:
    """Whether the server measures the global model; where layers are personal, only if it is asked to."""
    asked = experiment.evaluation.server
    return not experiment.strategy().personal if asked is None else asked
