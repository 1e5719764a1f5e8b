"""The run that a federation carries out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """The run that is to come to its end.

    Attributes:
        folder: of the run; whoever carries it out holds it.
        server_app, client_app: Flower's names of the apps, `"module:attribute"`.
        config: their run config.
        wanted: clients that the run waits for.
        done: rounds that are done.
        finished: whether the run has come to its end.
        report: is called from time to time, to show what is new.
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
    """The run cannot go on; why is its text."""
