"""The inputs of a simulated run, for its fingerprint."""

import sys
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from hedgerow.client.data import ClientData
from hedgerow.client.task import Task
from hedgerow.client.trainer import Trainer
from hedgerow.client.trainers import given_task
from hedgerow.datasets import Federation
from hedgerow.experiments.runs.digest import digest, digest_of_module
from hedgerow.generators import undisturbed
from hedgerow.server.fingerprint import Contents
from hedgerow.simulation.attacks.adversary import Adversary
from hedgerow.simulation.clock.clock import Clock
from hedgerow.simulation.devices.base import Devices
from hedgerow.types import Model, Samples


def contents_of(
    task: Task | Trainer,
    clients: ClientData | None,
    test: Samples | None = None,
    initial: Model | Path | str | None = None,
    adversary: Adversary | None = None,
    run: Mapping[str, str | None] | None = None,
    devices: Devices | None = None,
    clock: Clock | None = None,
) -> Contents:
    """Digests of task and data; for objects without arrays, such as a user's class, of their code.

    `run` has the execution options that may affect a run's bits. Missing inputs have a
    digest too, because giving one to a run that was begun without it is a change.
    """
    data: dict[str, str] = {}
    if isinstance(clients, Federation):
        data["training data"] = digest(clients.dataset.train)
        data["split of the data"] = digest(clients.names, clients.indices)
        data["clients"] = digest(Federation.__name__)
    elif clients is not None:
        names = (len(clients.names), *clients.names[:100])
        data["clients"] = digest(type(clients), names, clients if is_dataclass(clients) else None)
    if test is not None:
        data["test data"] = digest(test)
    # Of a file, its path: a run that has begun no longer needs its contents.
    start = initial if isinstance(initial, Model | NoneType) else str(Path(initial).resolve())
    data["initial model"] = digest(start)
    data["attack"] = digest((adversary.attack.name, adversary.clients) if adversary else None)
    data["devices"] = digest(devices.name if devices else None)
    data["clock"] = digest(clock.name if clock else None)
    torch: Any = sys.modules.get("torch")
    return Contents(_code(task), data, {"torch": torch.__version__} if torch else {}, run or {})


def _code(task: Task | Trainer) -> dict[str, str]:
    inner = given_task(task)
    if inner is None:
        return {"trainer": digest(task)}
    try:
        with undisturbed():
            model = digest_of_module(inner.model())
    except ModuleNotFoundError:  # a plug-in trainer may work without torch, and only know the model's name
        model = digest(inner.model)
    return {"model": model, "loss": digest(inner.loss), "trainer": digest(None)}
