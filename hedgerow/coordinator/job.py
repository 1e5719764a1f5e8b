"""The run that a federation carries out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """A run to be completed.

    Attributes:
        folder: of the run, locked by the process that carries it out.
        server_app, client_app: Flower's names of the apps, `"module:attribute"`.
        config: their run config.
        wanted: number of clients that the run waits for.
        done: returns the number of completed rounds.
        finished: returns whether the run is complete.
        report: called from time to time, to show progress.
    """

    folder: Path
    server_app: str
    client_app: str
    config: Mapping[str, Any]
    wanted: int
    done: Callable[[], int]
    finished: Callable[[], bool]
    report: Callable[[], None] = lambda: None


class RunFailed(RuntimeError):
    """The run cannot continue; the message says why."""
