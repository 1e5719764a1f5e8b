"""Train a federation on this machine, or on a Ray cluster."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from hedgerow import checks, generators
from hedgerow.client.app import client_app
from hedgerow.client.data import ClientData
from hedgerow.client.secure.enrolment import SimulatedEnrolments
from hedgerow.client.states import FolderStates
from hedgerow.client.task import Task
from hedgerow.client.torch.device import best_device
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.client.trainer import Chooses, Trainer
from hedgerow.files import write_whole
from hedgerow.rng import integer_seed
from hedgerow.server.app import train
from hedgerow.simulation.clients import FIRST_NODE_ID
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.simulation.ray.cluster import RayCluster
from hedgerow.spans import span
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Layout, Model, RoundResult, Samples

log = logging.getLogger("hedgerow")

TRAINERS = ("loop", "batch", "auto")
ENGINES = ("local", "ray")


def simulate(
    task: Task | Trainer,
    clients: ClientData,
    strategy: Strategy,
    *,
    rounds: int,
    test: Samples | None = None,
    seed: int = 0,
    folder: Path | None = None,
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
    initial: Model | None = None,
) -> Iterator[RoundResult]:
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
        gpus: that a worker on a cluster asks for; 0.25 lets four share one.
        initial: the model of round 0, such as a pretrained one; `None` is what the
            task makes with the run's seed.

    Raises:
        ValueError: `engine` or `trainer` is not one of those allowed; an
            address or GPUs are given for this machine; there is no such
            device, it is not for a `Task`, or several processes would have to
            share it; or `initial` is another model's.
        ModuleNotFoundError: Ray is asked for and not installed.
        ConnectionError: there is no cluster at the address.

    The same apps run unchanged on Flower's own engines: `client_app` and
    `train` are all that is used here.
    """
    cluster = _cluster(engine, address, gpus)
    chosen = folder / "trainer.json" if folder else None
    with span("make model"):
        if isinstance(task, Task):
            learner = _trainer(task, trainer, chosen, device, here=None if cluster else workers or 1)
        elif device is not None:
            raise ValueError(
                f"device is {device!r}, and the task is a trainer already; make it on that device"
            )
        else:
            learner = task
        if initial is None:
            with generators.seeded(integer_seed(seed, "initial model")):
                initial = learner.initial(seed)
    _check_fits(initial, learner.layout)
    kept = folder / "clients" if folder else None
    # All simulated clients are in one hand: their identities come from one secret, which ends with the run.
    identities = SimulatedEnrolments(os.urandom(32))
    app = client_app(
        learner, clients, strategy, state_folder=None if cluster else kept,
        enrolment=identities.enrolment, unmasked=not masks, seeded_noise=True,
    )  # fmt: skip
    # The nodes of a cluster have no folder in common.
    states = (
        FolderStates(kept, lambda node: clients.names[node - FIRST_NODE_ID]) if cluster and kept else None
    )

    def evaluate(model: Model) -> dict[str, float]:
        assert test is not None
        with generators.seeded(integer_seed(seed, "evaluate")):
            return learner.evaluate(model, test)

    with InProcessGrid(
        app, len(clients.names), names=clients.names, workers=workers,
        client_timeout=client_timeout, memory_limit=memory_limit, cluster=cluster, states=states,
    ) as grid:  # fmt: skip
        for result in train(
            grid,
            strategy,
            initial,
            learner.layout,
            num_rounds=rounds,
            seed=seed,
            folder=folder,
            evaluate=evaluate if test is not None else None,
            evaluate_every=evaluate_every,
            masks=masks,
            seeded_noise=True,
        ):
            if chosen is not None and not chosen.exists():
                _keep_choice(learner, chosen)
            yield result


def _check_fits(initial: Model, layout: Layout) -> None:
    given = [len(values) for values in (initial.parameters, initial.buffers, initial.constants)]
    needed = [layout.dimension, layout.buffer_size, layout.constant_size]
    if given != needed:
        raise ValueError(
            "initial has {} parameters, {} values of buffers and {} constants;"
            " this task's model has {}, {} and {}".format(*given, *needed)
        )


def _cluster(engine: str, address: str | None, gpus: float) -> RayCluster | None:
    checks.one_of(ENGINES, engine=engine)
    if engine == "ray":
        return RayCluster(address, gpus=gpus)
    if address is not None or gpus:
        given = f"the address {address!r}" if address is not None else f"gpus={gpus:g}"
        raise ValueError(f"{given} is for workers on a cluster; choose engine='ray', or leave it out")
    return None


def _trainer(task: Task, kind: str, chosen: Path | None, device: str | None, here: int | None) -> Trainer:
    """A trainer of this kind; `here` is the number of processes on this machine, `None` on a cluster."""
    checks.one_of(TRAINERS, trainer=kind)
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


def _keep_choice(trainer: Trainer, file: Path) -> None:
    """Write down how clients are trained, before the first checkpoint counts on it."""
    choice = trainer.choice if isinstance(trainer, Chooses) else None
    if choice is not None:
        log.info("clients are trained in a %s: %s", choice.method, choice.why)
        write_whole(file, json.dumps(choice.to_json()).encode())
