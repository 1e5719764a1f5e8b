"""A simulation's grid in simulated time, if the run has a clock."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from hedgerow.client.data import ClientData
from hedgerow.client.pace import StepTimes
from hedgerow.client.task import Task
from hedgerow.client.trainer import Trainer
from hedgerow.client.trainers import given_task
from hedgerow.datasets import Federation
from hedgerow.simulation.clock.clock import Clock
from hedgerow.simulation.clock.work import Work
from hedgerow.simulation.devices.base import Devices, step_times_of
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import RunOptions

_TIMED = ("timeout", "over_select", "retry")


def check_clock(
    clock: Clock | None, devices: Devices | None, strategy: Strategy, options: RunOptions
) -> None:
    """Raise `ValueError` if something needs a clock that is not there, or two describe the devices."""
    if clock is None and strategy.arrivals is not None:
        raise ValueError(
            f"{strategy.name} counts replies as they arrive, and without a clock simulated clients all answer"
            " at once; describe their devices and links in [clock]"
        )
    if clock is not None and devices is not None:
        raise ValueError(
            "devices and clock both say how long a step takes on each device; leave one of them out"
        )
    for name in _TIMED:
        if clock is None and (value := getattr(options, name)) != getattr(RunOptions(), name):
            raise ValueError(
                f"{name} is {value:g}; it must be left out: without a clock, simulated clients are never late"
            )


def work_of(clock: Clock, task: Task | Trainer, clients: ClientData, strategy: Strategy) -> Work:
    """The work of a run's clients; raises `ValueError` if its operations are not given and not counted."""
    return Work(strategy.local, clock.flops_per_example or _counted(task, clients), sample_counts(clients))


def step_times(
    clock: Clock | None, work: Work | None, devices: Devices | None, strategy: Strategy
) -> StepTimes:
    """The step times of simulated clients, by the clock if there is one."""
    if clock is not None and work is not None:
        return clock.step_times(work)
    return step_times_of(devices, strategy)


def sample_counts(clients: ClientData) -> Callable[[str], int]:
    """The number of each client's samples, by its name."""
    if isinstance(clients, Federation):
        sizes = dict(zip(clients.names, clients.sizes().tolist(), strict=True))
        return sizes.__getitem__
    return lru_cache(maxsize=None)(lambda name: len(clients.samples(name)))


def _counted(task: Task | Trainer, clients: ClientData) -> float:
    inner = given_task(task)
    if inner is None:
        raise ValueError(
            f"flops_per_example must be given: {type(task).__name__} has no torch model on which to count it"
        )
    from hedgerow.client.torch.flops import flops_per_example

    found = (clients.samples(name) for name in clients.names)
    some = next((samples for samples in found if len(samples)), None)
    if some is None:
        raise ValueError("no client has samples; flops_per_example must be given")
    return flops_per_example(inner, some.take(np.arange(1)))
