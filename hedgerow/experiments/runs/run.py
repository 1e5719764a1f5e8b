"""Run one experiment into its folder, on this machine, a Ray cluster or any Flower grid."""

from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

from flwr.serverapp import Grid

from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.datasets import Federation
from hedgerow.experiments.config.schema import Experiment, to_toml
from hedgerow.experiments.contents import contents_of
from hedgerow.experiments.runs.pretraining import starting_model
from hedgerow.experiments.runs.simulate import check_held_out, simulate, start_of
from hedgerow.experiments.runs.store import CLIENTS, RunFolder, client_line, line_of
from hedgerow.locks import HeldFolder, hold
from hedgerow.server.app import train
from hedgerow.server.evaluation import EvaluationPlan
from hedgerow.spans import span
from hedgerow.types import RoundResult, Samples


def run_experiment(
    experiment: Experiment,
    folder: Path | HeldFolder,
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
    extend: bool = False,
    wait: float = 0.0,
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
        extend: a run in the folder may get other rounds and evaluations.
        wait: seconds to wait for another run that writes in the folder.

    Raises:
        StoreError: another run lies in the folder.
        FolderInUse: another process, or another run of this one, writes in the folder.
        AnotherRun: the run was begun with another model, loss or data; the error says with what.
        ValueError: the data or the model cannot be had as configured; or no client can train.
        ModuleNotFoundError, ConnectionError: the Ray cluster cannot be had.
        OSError: the final model cannot be written; the last checkpoint stays.
    """
    with hold(folder, keep=True, wait=wait) as held:
        run = RunFolder.create(held.path, to_toml(experiment), extend=extend)
        if run.finished:
            return run
        if grid is None:
            options = {"workers": workers, "client_timeout": client_timeout, "memory_limit": memory_limit}
            results = _simulated(experiment, held, **options, engine=engine, address=address, masks=masks)
        else:
            results = _served(experiment, held, grid, register)
        for result in results:
            try:
                run.append(line_of(result))
                if experiment.evaluation.per_client and (found := result.client_evaluation):
                    run.append(client_line(result.round, found), CLIENTS)
                if on_round is not None:
                    on_round(result)
            except BaseException as error:
                # Not written down as a whole: it is thrown in, so that no checkpoint counts this round.
                results.throw(error)
        return run


def _simulated(
    experiment: Experiment, held: HeldFolder, **options: Any
) -> Generator[RoundResult, None, None]:
    with span("load data"):
        federation = experiment.federation()
    with span("make model"):
        task = experiment.task()
    with span("pretrain"):
        initial = starting_model(experiment) or experiment.initial
    return simulate(
        task,
        federation,
        experiment.strategy(),
        rounds=experiment.rounds,
        test=_test(experiment, federation),
        seed=experiment.seed,
        folder=held,
        evaluate_every=experiment.evaluation.every,
        initial=initial,
        adversary=experiment.adversary(),
        client_evaluation=_plan(experiment),
        record=experiment.run.record,
        **options,
    )


def _served(
    experiment: Experiment, held: HeldFolder, grid: Grid, register: Mapping[str, bytes] | None
) -> Generator[RoundResult, None, None]:
    if experiment.attack is not None and experiment.attack.clients:
        raise ValueError(
            f"attack.clients is {experiment.attack.clients:g}; it must be 0, or [attack] left out: only"
            " simulated clients attack"
        )
    trainer, federation, plan = TorchTrainer(experiment.task()), experiment.federation(), _plan(experiment)
    check_held_out(federation, plan)
    test = _test(experiment, federation)
    return train(
        grid,
        experiment.strategy(),
        start_of(trainer, starting_model(experiment) or experiment.initial, experiment.seed),
        trainer.layout,
        num_rounds=experiment.rounds,
        seed=experiment.seed,
        folder=held,
        contents=contents_of(trainer, None, test, experiment.initial),
        evaluate=None if test is None else lambda model: trainer.evaluate(model, test),
        evaluate_every=experiment.evaluation.every,
        min_clients=len(federation),
        register=register,
        client_evaluation=plan,
        record=experiment.run.record,
    )


def _test(experiment: Experiment, federation: Federation) -> Samples | None:
    """What the server measures the global model on, where there is anything.

    Where layers are personal, it does so only if it is asked to.
    """
    asked = experiment.evaluation.server
    measured = not experiment.strategy().personal if asked is None else asked
    return federation.dataset.test if measured and len(federation.dataset.test) else None


def _plan(experiment: Experiment) -> EvaluationPlan | None:
    fraction = experiment.evaluation.fraction
    return None if fraction is None else EvaluationPlan(fraction, experiment.evaluation.every)
