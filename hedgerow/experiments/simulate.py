"""Train a federation in this process."""

from collections.abc import Iterator
from pathlib import Path

from hedgerow.client.app import ClientData, client_app
from hedgerow.client.task import Task
from hedgerow.client.torch_trainer import TorchTrainer
from hedgerow.client.trainer import Trainer
from hedgerow.server.app import train
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Model, RoundResult, Samples


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
) -> Iterator[RoundResult]:
    """Yield the result of each round, with the clients in this process.

    Args:
        task: what is learned, or a `Trainer` that learns it.
        clients: their data: a `Federation`, or anything with `names` and `samples(name)`.
        strategy: what is computed.
        rounds: how many.
        test: samples to measure the global model on.
        seed: same seed, same run.
        folder: where to save after each round, and to resume from; `None` saves nothing.
        evaluate_every: measure after every so many rounds, and the last.

    The same apps run unchanged on Flower's own engines: `client_app` and
    `train` are all that is used here.
    """
    trainer = TorchTrainer(task) if isinstance(task, Task) else task
    app = client_app(trainer, clients, strategy, state_folder=folder / "clients" if folder else None)

    def evaluate(model: Model) -> dict[str, float]:
        assert test is not None
        return trainer.evaluate(model, test)

    names = clients.names
    with InProcessGrid(app, len(names), names=lambda i: names[i]) as grid:
        yield from train(
            grid,
            strategy,
            trainer.initial(seed),
            trainer.layout,
            num_rounds=rounds,
            seed=seed,
            folder=folder,
            evaluate=evaluate if test is not None else None,
            evaluate_every=evaluate_every,
        )
