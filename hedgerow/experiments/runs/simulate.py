"""Train a federation on this machine, or on a Ray cluster."""

import json
import logging
import os
from collections.abc import Generator, Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from types import NoneType
from typing import Unpack

from hedgerow import checks, generators
from hedgerow.client.app import client_app
from hedgerow.client.capabilities import chooses
from hedgerow.client.client_round import honest
from hedgerow.client.data import ClientData, holds_out
from hedgerow.client.secure.enrolment import SimulatedEnrolments
from hedgerow.client.states import FolderStates
from hedgerow.client.task import Task
from hedgerow.client.trainer import Trainer
from hedgerow.client.trainers import Computing, trainer_of
from hedgerow.experiments.config.schema import Experiment
from hedgerow.experiments.runs.arguments import check_simulation
from hedgerow.experiments.runs.clocked import check_clock, step_times, work_of
from hedgerow.experiments.runs.contents import contents_of
from hedgerow.files import write_whole
from hedgerow.locks import HeldFolder, hold
from hedgerow.rng import integer_seed
from hedgerow.server.app import train
from hedgerow.server.checkpoint import begun, load_model
from hedgerow.server.ending import Evaluate
from hedgerow.server.evaluation import EvaluationPlan
from hedgerow.simulation.arguments import check_workers
from hedgerow.simulation.attacks.adversary import Adversary, Compromised
from hedgerow.simulation.clients import FIRST_NODE_ID
from hedgerow.simulation.clock.clock import Clock
from hedgerow.simulation.clock.grid import ClockedGrid
from hedgerow.simulation.devices.base import Devices, step_times_of
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.simulation.ray.cluster import RayCluster
from hedgerow.spans import span
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Deployment, Model, RoundResult, RunOptions, Samples
from hedgerow.types.options import IDENTITY, Simulating, options_for
from hedgerow.wording import shown

log = logging.getLogger("hedgerow")


@checks.arguments
def simulate(
    task: Task | Trainer,
    clients: ClientData,
    strategy: Strategy,
    *,
    rounds: int,
    test: Samples | None = None,
    seed: int = 0,
    folder: Path | str | HeldFolder | None = None,
    evaluate_every: int = 1,
    initial: Model | Path | str | None = None,
    masks: bool = False,
    adversary: Adversary | None = None,
    devices: Devices | None = None,
    clock: Clock | None = None,
    client_evaluation: EvaluationPlan | None = None,
    record: bool = False,
    options: RunOptions | None = None,
    **changes: Unpack[Simulating],
) -> Generator[RoundResult, None, None]:
    """Yield the result of each round, with the clients on this machine or on a Ray cluster.

    Args:
        task: what is learned, or a `Trainer` that learns it.
        clients: their data: a `Federation`, or anything with `names` and `samples(name)`.
        strategy: what is computed.
        rounds: how many.
        test: samples on which to evaluate the global model.
        seed: same seed, same run.
        folder: where to save after each round, and to resume from; `None` saves nothing.
        evaluate_every: rounds from one evaluation to the next; the last round is always evaluated.
        initial: the model to start from: a `Model`, a safetensors file, or the folder
            of a run that has ended; `None` makes a new one.
        masks: if the pipeline masks, run the whole protocol: short for
            `deployment=Deployment.MASKED`. Otherwise the same numbers are added in
            the clear, which is faster and gives the same bits. Each `RoundResult` says
            which was used.
        adversary: controls some of the clients, and changes their data and updates.
        devices: how long a step takes on each client's device, for `LocalTraining.time_budget`.
        clock: devices, links and availability of the clients: rounds then take simulated time.
        client_evaluation: which clients evaluate the model on their held-out samples,
            and when; `clients` must then have `held_out(name)`.
        record: keep the replies that counted in each round in the folder.
        options: how it is executed; see `RunOptions`.
        **changes: `workers`, `trainer`, `device`, `precision`, `client_timeout`,
            `memory_limit`, `engine`, `address`, `gpus`, `deployment`, `quorum` and
            `set_aside`, overriding those in `options`; with a clock also `timeout`, in
            simulated seconds, `over_select` and `retry`.

    Raises:
        ValueError: an argument has the wrong type or is out of range; an option has an
            invalid value, or is not for a simulation; there is no such device, it is
            not for a `Task`, or several processes would have to share it; the trainer
            does not support what the strategy needs; `initial` belongs to another
            model; or clients are to evaluate the model but hold nothing out.
        FolderInUse: another run is writing in the folder.
        AnotherRun: the folder's run was begun with another strategy, task or data, or
            another trainer, device or precision.
        ModuleNotFoundError: Ray is requested and not installed.
        ConnectionError: there is no cluster at the address.

    The same apps run unchanged on Flower's own engines: only `client_app` and
    `train` are used here.
    """
    check_simulation(task, clients, strategy, test, rounds, seed, evaluate_every, masks, initial)
    checks.kind((Adversary, NoneType), adversary=adversary)
    checks.kind((Devices, NoneType), ", such as lognormal(0.02)", devices=devices)
    checks.kind((Clock, NoneType), ", such as clock(('pi-4',), ('wifi',))", clock=clock)
    if clock is None:
        step_times_of(devices, strategy)
    checks.kind((EvaluationPlan, NoneType), client_evaluation=client_evaluation)
    checks.flag(record=record)
    chosen = options_for("simulate", Simulating, options, changes)
    if masks:
        chosen = replace(chosen, deployment=Deployment.MASKED)
    check_clock(clock, devices, strategy, chosen)
    return run_simulated(
        task, clients, strategy, chosen,
        rounds=rounds, test=test, seed=seed, folder=folder, evaluate_every=evaluate_every, initial=initial,
        adversary=adversary, devices=devices, clock=clock, client_evaluation=client_evaluation, record=record,
    )  # fmt: skip


def run_simulated(
    task: Task | Trainer,
    clients: ClientData,
    strategy: Strategy,
    options: RunOptions,
    *,
    rounds: int,
    test: Samples | None,
    seed: int,
    folder: Path | str | HeldFolder | None,
    evaluate_every: int,
    initial: Model | Path | str | None,
    adversary: Adversary | None,
    devices: Devices | None,
    clock: Clock | None,
    client_evaluation: EvaluationPlan | None,
    record: bool,
    keep_models: int = 0,
) -> Generator[RoundResult, None, None]:
    """Like `simulate`, with the options in one object."""
    deployment = options.deployment or Deployment.SIMULATED
    simulated = [Deployment.SIMULATED.value, Deployment.MASKED.value]
    checks.one_of(simulated, deployment=deployment.value)
    cluster = RayCluster(options.address, gpus=options.gpus) if options.engine == "ray" else None
    check_workers(options.workers, options.client_timeout, options.memory_limit, None, cluster)
    check_held_out(clients, client_evaluation)
    with nullcontext() if folder is None else hold(folder) as held:
        chosen = held.path / "trainer.json" if held else None
        with span("make model"):
            learner = learner_of(task, options, chosen)
            # A run that has begun has its model; personal layers start from the given one.
            goes_on = held is not None and begun(held.path) and not strategy.personal
            start = start_of(learner, None if goes_on else initial, seed)
        identity = identity_of(task, learner, options)
        if chooses(learner):
            log.info("clients are trained on %s", identity["device"])
        kept = held.path / "clients" if held else None
        # All simulated clients belong to one party: their identities come from one secret, lost with the run.
        identities = SimulatedEnrolments(os.urandom(32))
        # No process is sent a model that it does not need.
        own_start = start if strategy.personal else None
        attacked = adversary and Compromised.of(adversary, learner, clients, strategy, own_start, seed)
        work = None if clock is None else work_of(clock, task, clients, strategy)
        app = client_app(
            learner, attacked or clients, strategy, state_folder=None if cluster else kept,
            enrolment=identities.enrolment, deployment=deployment, guard=None,
            sent=attacked.sent if attacked else honest, initial=own_start,
            step_times=step_times(clock, work, devices, strategy),
        )  # fmt: skip
        # The nodes of a cluster share no folder.
        states = (
            FolderStates(kept, lambda node: clients.names[node - FIRST_NODE_ID]) if cluster and kept else None
        )
        inner = InProcessGrid(
            app, len(clients.names), names=clients.names, workers=options.workers,
            client_timeout=options.client_timeout, memory_limit=options.memory_limit,
            cluster=cluster, states=states,
        )  # fmt: skip
        grid = inner if clock is None or work is None else ClockedGrid(inner, clock, work, seed)
        with inner.running():
            results = train(
                grid, strategy, start, learner.layout,
                num_rounds=rounds, seed=seed, folder=held, evaluate_every=evaluate_every,
                evaluate=None if test is None else _evaluation(learner, test, seed),
                client_evaluation=client_evaluation, record=record, keep_models=keep_models,
                deployment=deployment, quorum=options.quorum, set_aside=options.set_aside,
                timeout=options.timeout, over_select=options.over_select, retry=options.retry,
                contents=contents_of(
                    task, clients, test, initial, adversary, identity, devices, clock
                ) if held else None,
            )  # fmt: skip
            yield from _with_choice(results, learner, chosen)


def _evaluation(learner: Trainer, test: Samples, seed: int) -> Evaluate:
    def evaluate(model: Model) -> dict[str, float]:
        with generators.seeded(integer_seed(seed, "evaluate")):
            return learner.evaluate(model, test)

    return evaluate


def _with_choice(
    results: Generator[RoundResult, None, None], trainer: Trainer, chosen: Path | None
) -> Iterator[RoundResult]:
    """The results; the choice of training is saved before the first checkpoint depends on it."""
    with closing(results):
        for result in results:
            choice = trainer.choice if chooses(trainer) else None
            if choice is not None and chosen is not None and not chosen.exists():
                log.info("clients are trained in a %s: %s", choice.method, choice.why)
                write_whole(chosen, json.dumps(choice.to_json()).encode())
            try:
                yield result
            except GeneratorExit:
                raise
            except BaseException as error:  # thrown in by a caller that could not record the result
                results.throw(error)


def learner_of(task: Task | Trainer, options: RunOptions, kept: Path | None = None) -> Trainer:
    """The trainer that the options name, for a task; `kept` is the file of its saved choice.

    Raises:
        ValueError: it cannot be made this way, or the task is already a trainer, with its own options.
    """
    choice = json.loads(kept.read_text(encoding="utf-8")) if kept and kept.exists() else None
    workers = None if options.engine == "ray" else options.workers or 1
    computing = Computing(options.device, options.precision, workers, choice)
    made = trainer_of(task, options.trainer, computing)
    for name in IDENTITY:
        given = getattr(options, name)
        if made is task and given != getattr(RunOptions(), name):
            raise ValueError(
                f"{name} is {shown(given)}, but the task is already a trainer; make it with that"
                f" {name}, or leave it out"
            )
    return made


def measuring_trainer(experiment: Experiment) -> Trainer:
    """An experiment's trainer for evaluation only: it knows the layout, and evaluates on the CPU."""
    return trainer_of(experiment.task(), experiment.run.trainer, Computing(device="cpu"))


def identity_of(task: Task | Trainer, learner: Trainer, options: RunOptions) -> dict[str, str | None]:
    """The options that may affect a run's last bits, and so must not change."""
    chosen = {name: getattr(options, name) for name in IDENTITY}
    made = {name: getattr(learner, name, chosen[name]) for name in ("device", "precision")}
    return made if learner is task else {**chosen, **made}


def check_held_out(clients: ClientData, plan: EvaluationPlan | None) -> None:
    """Raise `ValueError` if clients are to evaluate the model but hold nothing out."""
    if plan is not None and not holds_out(clients):
        raise ValueError(
            "clients are to evaluate the model, but hold no samples out; give [data] held_out = 0.2, or the"
            " clients' data a method held_out(name)"
        )


def start_of(learner: Trainer, initial: Model | Path | str | None, seed: int) -> Model:
    """The model before the first round: the given one, or a new one."""
    with generators.seeded(integer_seed(seed, "initial model")):
        new = learner.initial(seed)
    if initial is None:
        return new
    if isinstance(initial, Model):
        given, wanted = ((len(m.parameters), len(m.buffers), len(m.constants)) for m in (initial, new))
        if given != wanted:
            raise ValueError(
                f"initial has {given[0]} parameters, {given[1]} buffers and {given[2]} constants, but the"
                f" task's model {wanted[0]}, {wanted[1]} and {wanted[2]}; give one of the same layout"
            )
        return initial
    return load_model(initial, learner.layout)
