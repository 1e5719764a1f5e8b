"""Train a federation on this machine."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

from hedgerow import checks
from hedgerow.client.app import ClientData, client_app
from hedgerow.client.task import Task
from hedgerow.client.torch_trainer import TorchTrainer
from hedgerow.client.trainer import Chooses, Trainer
from hedgerow.files import write_whole
from hedgerow.server.app import train
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Model, RoundResult, Samples

log = logging.getLogger("hedgerow")

TRAINERS = ("loop", "batch", "auto")


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
    workers: int = 1,
    trainer: str = "loop",
    client_timeout: float | None = None,
) -> Iterator[RoundResult]:
    """Yield the result of each round, with the clients on this machine.

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
        trainer: of a `Task`: `"loop"` trains one client after another, `"batch"`
            several as one computation, and `"auto"` measures what is faster. Loop
            and batch agree to rounding only, and so do two runs with `"auto"`; a
            run in a folder keeps what it chose.
        client_timeout: seconds a client may take before it is dropped; `None` for no limit.

    The same apps run unchanged on Flower's own engines: `client_app` and
    `train` are all that is used here.
    """
    chosen = folder / "trainer.json" if folder else None
    learner = _trainer(task, trainer, chosen) if isinstance(task, Task) else task
    kept = folder / "clients" if folder else None
    app = client_app(learner, clients, strategy, state_folder=kept, seeded_noise=True)

    def evaluate(model: Model) -> dict[str, float]:
        assert test is not None
        return learner.evaluate(model, test)

    with InProcessGrid(
        app, len(clients.names), names=clients.names, workers=workers, client_timeout=client_timeout
    ) as grid:
        for result in train(
            grid,
            strategy,
            learner.initial(seed),
            learner.layout,
            num_rounds=rounds,
            seed=seed,
            folder=folder,
            evaluate=evaluate if test is not None else None,
            evaluate_every=evaluate_every,
            seeded_noise=True,
        ):
            if chosen is not None and not chosen.exists():
                _keep_choice(learner, chosen)
            yield result


def _trainer(task: Task, kind: str, chosen: Path | None) -> Trainer:
    checks.one_of(TRAINERS, trainer=kind)
    if kind == "loop":
        return TorchTrainer(task)
    from hedgerow.client.cohort import Choice, CohortTrainer

    if chosen is None or not chosen.exists():
        return CohortTrainer(task, mode=kind)
    return CohortTrainer(task, mode=kind, choice=Choice(**json.loads(chosen.read_text(encoding="utf-8"))))


def _keep_choice(trainer: Trainer, file: Path) -> None:
    """Write down how clients are trained, before the first checkpoint counts on it."""
    choice = trainer.choice if isinstance(trainer, Chooses) else None
    if choice is not None:
        log.info("clients are trained in a %s: %s", choice.method, choice.why)
        write_whole(file, json.dumps(choice.to_json()).encode())
