"""Trainers by name: functions that make one for a task, built in or from another package."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hedgerow import checks
from hedgerow.client.task import Task
from hedgerow.client.trainer import Trainer
from hedgerow.graphs.bundle import Graphs
from hedgerow.registry import Registry

TRAINERS = Registry(
    "trainer",
    "hedgerow.trainers",
    {
        "loop": "hedgerow.client.torch.named:loop",
        "batch": "hedgerow.client.cohort.named:batch",
        "auto": "hedgerow.client.cohort.named:auto",
        "onnx": "hedgerow.export.named:onnx",
    },
)
"""Each name maps to a `Make`: a function in its own file, and a line here or in that entry-point group."""


@dataclass(frozen=True)
class Computing:
    """What a trainer is made for.

    Attributes:
        device: the one asked for; `None` leaves it to the trainer.
        precision: of forward and backward passes: `"float32"`, `"bfloat16"` or `"float16"`.
        workers: processes of this machine that will each have a copy of the trainer; `None` on a
            cluster, where each process gets the resources it asks for.
        kept: the choice of the run's earlier trainer (`Way.to_json`); `None` at the start of a run.
        graphs: returns those that the run offers to devices, once the device's policy takes them;
            `None` where there are none.
    """

    device: str | None = None
    precision: str = "float32"
    workers: int | None = 1
    kept: Mapping[str, Any] | None = None
    graphs: Callable[[], Graphs] | None = None

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
"""Makes a trainer for a task.

Raises `ValueError` if it cannot: no such device, or a precision that the device or
the trainer does not support. A trainer may state in `device` and `precision` (strings)
what it computes on and in; a run that is resumed must have the same.
"""


def trainer_of(task: Task | Trainer, name: str = "loop", computing: Computing = _HERE) -> Trainer:
    """The trainer of that name for a task; a trainer is returned unchanged.

    Raises:
        ValueError: there is no such trainer, or it cannot be made this way.
    """
    return make_trainer(name, task, computing) if isinstance(task, Task) else task


def given_trainer(task: Task | Trainer) -> Trainer | None:
    """The argument if it is a trainer; `None` for a task, whose trainer is made where it is used."""
    return None if isinstance(task, Task) else task


def given_task(task: Task | Trainer) -> Task | None:
    """The argument if it is a task, or the task of a trainer; `None` if it has none."""
    found = task if isinstance(task, Task) else getattr(task, "task", None)
    return found if isinstance(found, Task) else None


def make_trainer(name: str, task: Task, computing: Computing) -> Trainer:
    """The trainer of that name, for a task.

    Raises:
        ValueError: there is no such trainer, or it cannot be made this way; the error says what is allowed.
    """
    checks.one_of(TRAINERS.names(), trainer=name)
    make: Make = TRAINERS.get(name)
    return make(task, computing)
