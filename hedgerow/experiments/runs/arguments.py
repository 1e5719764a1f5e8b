"""Checks of a simulation's arguments, made before anything is started."""

from pathlib import Path
from types import NoneType

from hedgerow import checks
from hedgerow.client.data import check_data
from hedgerow.client.trainer import check_learner
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Model, Samples


def check_simulation(
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
    """Refuse arguments of the wrong type before a folder is created or a process started."""
    check_learner(task)
    check_data(clients, "clients")
    checks.kind(Strategy, ", such as fedavg()", strategy=strategy)
    checks.kind((Samples, NoneType), ", such as dataset.test or Samples(x, y)", test=test)
    checks.whole(0, rounds=rounds)
    checks.whole(None, seed=seed)
    checks.whole(1, evaluate_every=evaluate_every)
    checks.flag(masks=masks)
    checks.kind((Model, Path, str, NoneType), initial=initial)
