"""Trainers by name: what makes one of a task, built in or from another package."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hedgerow import checks
from hedgerow.client.task import Task
from hedgerow.client.trainer import Trainer
from hedgerow.registry import Registry

TRAINERS = Registry(
    "trainer",
    "hedgerow.trainers",
    {
        "loop": "hedgerow.client.torch.named:loop",
        "batch": "hedgerow.client.cohort.named:batch",
        "auto": "hedgerow.client.cohort.named:auto",
    },
)
"""A name is a `Make`: one function in a file of its own, and a line here or under that entry-point group."""


@dataclass(frozen=True)
class Computing:
    """What a trainer is made for.

    Attributes:
        device: that was asked for; `None` leaves it to the trainer.
        precision: of forward and backward passes: `"float32"`, `"bfloat16"` or `"float16"`.
        workers: processes of this machine that will each have a copy of the trainer; `None` on a
            cluster, where each has what it asks for.
        kept: what the trainer of the run so far had chosen (`Way.to_json`); `None` at a run's begin.
    """

    device: str | None = None
    precision: str = "float32"
    workers: int | None = 1
    kept: Mapping[str, Any] | None = None

    def on(self, device: str) -> str:
        """The device to compute on: the one asked for, or this one.

        Raises:
            ValueError: it is a GPU, and several processes would have to share it.
        """
        chosen = self.device or device
        if chosen != "cpu" and self.workers is not None and self.workers > 1:
            raise ValueError(
                f"device is {chosen!r} and workers is {self.workers}; a GPU belongs to one process:"
                " take workers=1, or device='cpu'"
            )
        return chosen


_HERE = Computing()

Make = Callable[[Task, Computing], Trainer]
"""Makes a trainer of a task.

Raises `ValueError` where it cannot: no such device, a precision that the device
or the trainer has not. A trainer may say in `device` and `precision` (texts) what it computes
on and in: a run that is gone on with must have the same.
"""


def trainer_of(task: Task | Trainer, name: str = "loop", computing: Computing = _HERE) -> Trainer:
    """The trainer of that name for a task; a trainer is taken as it is.

    Raises:
        ValueError: there is none, or it cannot be made so.
    """
    return make_trainer(name, task, computing) if isinstance(task, Task) else task


def given_trainer(task: Task | Trainer) -> Trainer | None:
    """What is given as a trainer; `None` for a task, whose trainer is made where it is used."""
    return None if isinstance(task, Task) else task


def given_task(task: Task | Trainer) -> Task | None:
    """What is given as a task, or the one that a trainer was made of; `None` where it has none."""
    found = task if isinstance(task, Task) else getattr(task, "task", None)
    return found if isinstance(found, Task) else None


def make_trainer(name: str, task: Task, computing: Computing) -> Trainer:
    """The trainer of that name, for a task.

    Raises:
        ValueError: there is none, or it cannot be made so; the error says what is allowed.
    """
    checks.one_of(TRAINERS.names(), trainer=name)
    make: Make = TRAINERS.get(name)
    return make(task, computing)
