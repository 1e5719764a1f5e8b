"""What a sweep does next with one of its experiments."""

from dataclasses import dataclass

from hedgerow.experiments.config.expand import Cell


@dataclass(frozen=True)
class Task:
    """An experiment to run, or to give up.

    Attributes:
        cell: the experiment.
        until: rounds after which it waits for the others; `None` to run it to its end.
        dominated: why it is given up, instead of run; empty to run it.
    """

    cell: Cell
    until: int | None = None
    dominated: str = ""
