"""Run one experiment into its folder, on this machine, a Ray cluster or any Flower grid."""

from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

from flwr.serverapp import Grid

from hedgerow.experiments.config.device_recipe import refuse_arrivals
from hedgerow.experiments.config.schema import Experiment, to_toml
from hedgerow.experiments.runs.announce import announcement_of
from hedgerow.experiments.runs.clocked import check_clock
from hedgerow.experiments.runs.contents import contents_of
from hedgerow.experiments.runs.graphs import offer_of
from hedgerow.experiments.runs.pretraining import starting_model
from hedgerow.experiments.runs.simulate import (
    check_held_out,
    measuring_trainer,
    run_simulated,
    start_of,
)
from hedgerow.experiments.runs.store import CLIENTS, RunFolder, client_line, line_of
from hedgerow.locks import HeldFolder, hold
from hedgerow.server.announced import run_id
from hedgerow.server.app import train
from hedgerow.server.checkpoint import begun
from hedgerow.server.described import DescribedGrid
from hedgerow.server.evaluation import EvaluationPlan
from hedgerow.server.travelled import CountingGrid
from hedgerow.spans import span
from hedgerow.types import RoundResult, RunOptions, Samples
from hedgerow.types.options import IDENTITY, Simulating, options_for


def run_experiment(
    experiment: Experiment,
    folder: Path | HeldFolder,
    on_round: Callable[[RoundResult], None] | None = None,
    *,
    grid: Grid | None = None,
    options: RunOptions | None = None,
    extend: bool = False,
    until: int | None = None,
    wait: float = 0.0,
) -> RunFolder:
    """Run or resume an experiment; does nothing if it has finished.

    Args:
        experiment: what to run.
        folder: the run's folder, created if missing.
        on_round: called with the result of each round.
        grid: where the clients are; `None` simulates them on this machine. On
            a grid, the run waits until all of the experiment's clients are online.
        options: how it is executed, see `RunOptions`; settings in `[run]` of the experiment take
            precedence, except for workers given here.
        extend: whether a run in the folder may get other rounds and evaluations.
        until: leave it, saved and unfinished, once it has done this many rounds.
        wait: seconds to wait for another run that is writing in the folder.

    Raises:
        StoreError: another run is in the folder.
        FolderInUse: another process, or another run of this one, is writing in the folder.
        AnotherRun: the run was begun with another model, loss or data; the error says which.
        ValueError: the data or the model is not available as configured; no client can train; or an
            option is set that has no meaning for these clients.
        ModuleNotFoundError, ConnectionError: the Ray cluster is not available.
        OSError: the final model cannot be written; the last checkpoint stays.
    """
    with hold(folder, keep=True, wait=wait) as held:
        run = RunFolder.create(held.path, to_toml(experiment), extend=extend)
        if run.finished or (until is not None and run.done >= until):
            return run
        run.go_on()
        chosen = experiment.options(options or RunOptions())
        if grid is None:
            results = _simulated(experiment, held, options_for("a simulation", Simulating, chosen, {}))
        else:
            results = _served(experiment, held, grid, chosen)
        for result in results:
            try:
                run.append(line_of(result))
                if experiment.evaluation.per_client and (found := result.client_evaluation):
                    run.append(client_line(result.round, found), CLIENTS)
                if on_round is not None:
                    on_round(result)
            except BaseException as error:
                # Not fully recorded: throw the error in, so that no checkpoint counts this round.
                results.throw(error)
            if until is not None and result.round == until < experiment.rounds:
                results.close()  # which saves this round, so that nothing is done again
                break
        return run


def _simulated(
    experiment: Experiment, held: HeldFolder, options: RunOptions
) -> Generator[RoundResult, None, None]:
    server, clock = experiment.server, experiment.described_clock()
    if clock is not None:
        options = replace(
            options, timeout=server.deadline, over_select=server.over_select, retry=server.retry
        )
    check_clock(clock, experiment.described_devices(), experiment.strategy(), options)
    with span("load data"):
        federation = experiment.federation()
    with span("make model"):
        task = experiment.task()
    with span("pretrain"):
        initial = starting_model(experiment) or experiment.initial
    return run_simulated(
        task,
        federation,
        experiment.strategy(),
        options,
        rounds=experiment.rounds,
        test=_measured_on(experiment, federation.dataset.test),
        seed=experiment.seed,
        folder=held,
        evaluate_every=experiment.evaluation.every,
        initial=initial,
        adversary=experiment.adversary(),
        devices=experiment.described_devices(),
        clock=clock,
        client_evaluation=_plan(experiment),
        record=experiment.run.record,
        keep_models=experiment.run.keep_models,
    )


def _served(
    experiment: Experiment, held: HeldFolder, grid: Grid, options: RunOptions
) -> Generator[RoundResult, None, None]:
    refuse_arrivals(experiment)
    if experiment.attack is not None and experiment.attack.clients:
        raise ValueError(
            f"attack.clients is {experiment.attack.clients:g}; it must be 0, or [attack] left out: only"
            " simulated clients attack"
        )
    # The device and precision in [run] are for clients; the server evaluates the model on the CPU.
    trainer, plan = measuring_trainer(experiment), _plan(experiment)
    if not experiment.elsewhere:
        check_held_out(experiment.federation(), plan)
    elif plan is not None and experiment.data.held_out is None:
        raise ValueError(
            "devices are to evaluate the model, but hold no samples out; give [data] held_out = 0.2"
        )
    given = experiment.pretraining is not None or experiment.initial is not None
    if given and experiment.strategy().personal:
        raise ValueError(
            "only the server has the model to start from, and personal layers start on the devices; load its"
            " values in the model's own function, or leave strategy.personal out"
        )
    test = _measured_on(experiment, experiment.test())
    announced = announcement_of(experiment, trainer.layout, run_id(held.path), offer_of(held.path))
    identity = {name: getattr(options, name) for name in IDENTITY}
    initial = None if begun(held.path) else starting_model(experiment) or experiment.initial
    server = experiment.server
    here = replace(
        options, **{name: getattr(RunOptions(), name) for name in (*IDENTITY, "workers")},
        timeout=server.deadline, over_select=server.over_select, retry=server.retry,
        min_clients=clients_meant(experiment),
    )  # fmt: skip
    counting = CountingGrid(DescribedGrid(grid, announced), held.path)
    results = train(
        counting,
        experiment.strategy(),
        start_of(trainer, initial, experiment.seed),
        trainer.layout,
        num_rounds=experiment.rounds,
        seed=experiment.seed,
        folder=held,
        contents=contents_of(experiment.task(), None, test, experiment.initial, run=identity),
        evaluate=None if test is None else lambda model: trainer.evaluate(model, test),
        evaluate_every=experiment.evaluation.every,
        options=here,
        client_evaluation=plan,
        record=experiment.run.record,
        keep_models=experiment.run.keep_models,
    )
    return counting.whole(results)


def _measured_on(experiment: Experiment, test: Samples | None) -> Samples | None:
    """The samples on which the server evaluates the global model, if there are any.

    If layers are personal, it evaluates only on request.
    """
    asked = experiment.evaluation.server
    measured = not experiment.strategy().personal if asked is None else asked
    return test if measured and test is not None and len(test) else None


def clients_meant(experiment: Experiment) -> int:
    """The number of clients that a federation waits for: from `[server]`, or all of the experiment's."""
    if experiment.server.min_clients is not None:
        return experiment.server.min_clients
    if not experiment.elsewhere:
        return len(experiment.federation())
    asked = experiment.strategy_config
    return asked.population or asked.clients_per_round or 1


def _plan(experiment: Experiment) -> EvaluationPlan | None:
    fraction = experiment.evaluation.fraction
    return None if fraction is None else EvaluationPlan(fraction, experiment.evaluation.every)
