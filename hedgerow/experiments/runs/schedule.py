"""In which order the experiments of a sweep run. It follows from their results, and from no clock."""

from collections.abc import Iterator
from pathlib import Path

from hedgerow.experiments.config.expand import Sweep
from hedgerow.experiments.runs.early_stopping import looks
from hedgerow.experiments.runs.task import Task


def schedule(sweep: Sweep, folder: Path) -> Iterator[list[Task]]:
    """Batches of tasks; each is asked for when all of the one before have ended.

    Raises:
        ModuleNotFoundError: Optuna is to search, and is not installed.
    """
    if sweep.search is not None and sweep.search.adaptive:
        from hedgerow.experiments.runs.optuna_search import proposals

        yield from proposals(sweep, folder)
    elif sweep.early_stopping is not None:
        yield from looks(sweep, folder)
    else:
        yield [Task(cell) for cell in sweep.cells]
