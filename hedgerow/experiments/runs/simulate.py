"""Train a federation on this machine, or on a Ray cluster."""

import json
import logging
import os
from collections.abc import Generator, Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from types import NoneType

from hedgerow import checks, generators
from hedgerow.client.app import client_app
from hedgerow.client.client_round import honest
from hedgerow.client.data import ClientData, check_data, holds_out
from hedgerow.client.secure.enrolment import SimulatedEnrolments
from hedgerow.client.states import FolderStates
from hedgerow.client.task import Task
from hedgerow.client.torch.device import best_device
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.client.trainer import Chooses, Trainer, check_learner
from hedgerow.experiments.contents import contents_of
from hedgerow.experiments.runs.adversary import Adversary, Compromised
from hedgerow.files import write_whole
from hedgerow.locks import HeldFolder, hold
from hedgerow.rng import integer_seed
from hedgerow.server.app import train
from hedgerow.server.checkpoint import load_model
from hedgerow.server.evaluation import EvaluationPlan
from hedgerow.server.rounds import Evaluate
from hedgerow.simulation.arguments import check_workers
from hedgerow.simulation.clients import FIRST_NODE_ID
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.simulation.ray.cluster import RayCluster
from hedgerow.spans import span
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Model, RoundResult, Samples

log = logging.getLogger("hedgerow")

TRAINERS = ("loop", "batch", "auto")
ENGINES = ("local", "ray")


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
    workers: int | None = None,
    trainer: str = "loop",
    device: str | None = None,
    client_timeout: float | None = None,
    memory_limit: int | None = None,
    engine: str = "local",
    address: str | None = None,
    gpus: float = 0.0,
    masks: bool = False,
    initial: Model | Path | str | None = None,
    adversary: Adversary | None = None,
    client_evaluation: EvaluationPlan | None = None,
    record: bool = False,
) -> Generator[RoundResult, None, None]:
    """Yield the result of each round, with the clients on this machine or on a Ray cluster.

    Args:
        task: what is learned, or a `Trainer` that learns it.
        clients: their data: a `Federation`, or anything with `names` and `samples(name)`.
        strategy: what is computed.
        rounds: how many.
        test: samples to measure the global model on.
        seed: same seed, same run.
        folder: where to save after each round, and to resume from; `None` saves nothing.
        evaluate_every: measure after every so many rounds, and the last.
        workers: processes, one thread each; their number never shows in a result.
            By default 1, on a cluster as many as it has CPUs.
        trainer: of a `Task`: `"loop"` trains one client after another, `"batch"`
            several as one computation, and `"auto"` measures what is faster. Loop
            and batch agree to rounding only, and so do two runs with `"auto"`; a
            run in a folder keeps what it chose.
        device: of torch, for a `Task`, such as `"cpu"` or `"cuda:1"`. `None` is a
            GPU for `"batch"` and `"auto"` in one process, where there is one, and
            else the CPU; a run in a folder keeps it. On a GPU two runs may differ
            in their last bits.
        client_timeout: seconds a client may take before it is dropped; `None` for no limit.
        masks: where the pipeline masks, run the whole protocol. Without, the same
            numbers are added in the clear: faster, and the same bits. Each
            `RoundResult` says which it was.
        memory_limit: bytes that a client's process may allocate beyond what it
            starts with, before the client is dropped; `None` for no limit. Linux only.
        engine: `"local"`, or `"ray"` for workers on a Ray cluster.
        address: of the cluster: `"auto"`, `"host:port"` or `"ray://host:port"`;
            `None` for a Ray of its own on this machine.
        initial: the model to start from: a `Model`, a safetensors file, or the folder
            of a run that has ended; `None` makes a new one.
        gpus: that a worker on a cluster asks for; 0.25 lets four share one.
        initial: the model of round 0, such as a pretrained one; `None` is what the
            task makes with the run's seed.
        adversary: holds a share of the clients, whose data and updates it changes.
        client_evaluation: which clients measure the model on the samples that
            they hold out, and when; `clients` must have `held_out(name)` then.
        record: keep in the folder who counted in each round, and with what.

    Raises:
        ValueError: an argument is of another kind or out of range; `engine` or
            `trainer` is not one of those allowed; an address or GPUs are given
            for this machine; there is no such device, it is not for a `Task`,
            or several processes would have to share it. Or `initial` is of
            another model; or clients are to measure the model and hold nothing out.
        FolderInUse: another run writes in the folder.
        AnotherRun: the folder's run was begun with another strategy, task or data.
        ModuleNotFoundError: Ray is asked for and not installed.
        ConnectionError: there is no cluster at the address.

    The same apps run unchanged on Flower's own engines: `client_app` and
    `train` are all that is used here.
    """
    _check(task, clients, strategy, test, rounds, seed, evaluate_every, masks, initial)
    cluster = _cluster(engine, address, gpus)
    check_workers(workers, client_timeout, memory_limit, None, cluster)
    check_held_out(clients, client_evaluation)
    with nullcontext() if folder is None else hold(folder) as held:
        chosen = held.path / "trainer.json" if held else None
        with span("make model"):
            learner = _learner(task, trainer, chosen, device, here=None if cluster else workers or 1)
            start = start_of(learner, initial, seed)
        kept = held.path / "clients" if held else None
        # All simulated clients are in one hand: their identities come from one secret, gone with the run.
        identities = SimulatedEnrolments(os.urandom(32))
        attacked = adversary and Compromised.of(adversary, learner, clients, strategy, seed)
        app = client_app(
            learner, attacked or clients, strategy, state_folder=None if cluster else kept,
            enrolment=identities.enrolment, unmasked=not masks, seeded_noise=True, guard=None,
            sent=attacked.sent if attacked else honest,
        )  # fmt: skip
        # The nodes of a cluster have no folder in common.
        states = (
            FolderStates(kept, lambda node: clients.names[node - FIRST_NODE_ID]) if cluster and kept else None
        )
        grid = InProcessGrid(
            app, len(clients.names), names=clients.names, workers=workers,
            client_timeout=client_timeout, memory_limit=memory_limit, cluster=cluster, states=states,
        )  # fmt: skip
        with grid.running():
            results = train(
                grid, strategy, start, learner.layout,
                num_rounds=rounds, seed=seed, folder=held, evaluate_every=evaluate_every,
                evaluate=None if test is None else _evaluation(learner, test, seed),
                masks=masks, seeded_noise=True, client_evaluation=client_evaluation, record=record,
                contents=contents_of(task, clients, test, initial, adversary) if held else None,
            )  # fmt: skip
            yield from _with_choice(results, learner, chosen)


def _check(
    task: object,
    clients: object,
    strategy: object,
    test: object,
    rounds: int,
    seed: int,
    evaluate_every: int,
    masks: bool,
    initial: object,
) -> None:
    """Refuse what is of another kind before a folder is made or a process started."""
    check_learner(task)
    check_data(clients, "clients")
    checks.kind(Strategy, ", such as fedavg()", strategy=strategy)
    checks.kind((Samples, NoneType), ", such as dataset.test or Samples(x, y)", test=test)
    checks.whole(0, rounds=rounds)
    checks.whole(None, seed=seed)
    checks.whole(1, evaluate_every=evaluate_every)
    checks.flag(masks=masks)
    checks.kind((Model, Path, str, NoneType), initial=initial)


def _evaluation(learner: Trainer, test: Samples, seed: int) -> Evaluate:
    def evaluate(model: Model) -> dict[str, float]:
        with generators.seeded(integer_seed(seed, "evaluate")):
            return learner.evaluate(model, test)

    return evaluate


def _with_choice(
    results: Generator[RoundResult, None, None], trainer: Trainer, chosen: Path | None
) -> Iterator[RoundResult]:
    """The results, and how clients are trained written down before the first checkpoint counts on it."""
    with closing(results):
        for result in results:
            choice = trainer.choice if isinstance(trainer, Chooses) else None
            if choice is not None and chosen is not None and not chosen.exists():
                log.info("clients are trained in a %s: %s", choice.method, choice.why)
                write_whole(chosen, json.dumps(choice.to_json()).encode())
            try:
                yield result
            except GeneratorExit:
                raise
            except BaseException as error:  # thrown in by whoever has not written the result down
                results.throw(error)


def _learner(
    task: Task | Trainer, kind: str, chosen: Path | None, device: str | None, here: int | None
) -> Trainer:
    checks.one_of(TRAINERS, trainer=kind)
    if isinstance(task, Task):
        return _trainer(task, kind, chosen, device, here)
    if device is not None:
        raise ValueError(
            f"device is {checks.shown(device)}, and the task is a trainer already; make it on that device"
        )
    return task


def check_held_out(clients: ClientData, plan: EvaluationPlan | None) -> None:
    """Raise `ValueError` where clients are to measure the model, and hold nothing out."""
    if plan is not None and not holds_out(clients):
        raise ValueError(
            "clients are to measure the model, and hold no samples out; give [data] held_out = 0.2, or the"
            " clients' data a method held_out(name)"
        )


def start_of(learner: Trainer, initial: Model | Path | str | None, seed: int) -> Model:
    """The model before the first round: the one that is given, or a new one."""
    with generators.seeded(integer_seed(seed, "initial model")):
        new = learner.initial(seed)
    if initial is None:
        return new
    if isinstance(initial, Model):
        given, wanted = ((len(m.parameters), len(m.buffers), len(m.constants)) for m in (initial, new))
        if given != wanted:
            raise ValueError(
                f"initial has {given[0]} parameters, {given[1]} buffers and {given[2]} constants, and the"
                f" task's model {wanted[0]}, {wanted[1]} and {wanted[2]}; give one of the same layout"
            )
        return initial
    return load_model(initial, learner.layout)


def _cluster(engine: str, address: str | None, gpus: float) -> RayCluster | None:
    checks.one_of(ENGINES, engine=engine)
    checks.not_negative(gpus=gpus)
    checks.kind((str, NoneType), ", such as 'auto'", address=address)
    if engine == "ray":
        return RayCluster(address, gpus=gpus)
    if address is not None or gpus:
        given = f"the address {address!r}" if address is not None else f"gpus={gpus:g}"
        raise ValueError(f"{given} is for workers on a cluster; choose engine='ray', or leave it out")
    return None


def _trainer(task: Task, kind: str, chosen: Path | None, device: str | None, here: int | None) -> Trainer:
    """A trainer of this kind; `here` is the number of processes on this machine, `None` on a cluster."""
    if kind == "loop":
        _refuse_shared(device, here)
        return TorchTrainer(task, device=device)
    from hedgerow.client.cohort import Choice, CohortTrainer

    choice = None
    if chosen is not None and chosen.exists():
        choice = Choice(**json.loads(chosen.read_text(encoding="utf-8")))
    if device is None and choice is not None:
        device = choice.device
    elif device is None:
        device = best_device() if here == 1 else "cpu"
    _refuse_shared(device, here)
    log.info("clients are trained on %s", device)
    return CohortTrainer(task, mode=kind, device=device, choice=choice)


def _refuse_shared(device: str | None, workers: int | None) -> None:
    if device not in (None, "cpu") and workers is not None and workers > 1:
        raise ValueError(
            f"device is {device!r} and workers is {workers}; a GPU belongs to one process:"
            " take workers=1, or device='cpu'"
        )
