"""A sweep without its processes: the tasks of its schedule, one after another in any order."""

import random
from collections.abc import Iterator
from pathlib import Path

from hedgerow.experiments.config.expand import Sweep
from hedgerow.experiments.config.recipe import load_sweep
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.experiments.runs.schedule import schedule
from hedgerow.experiments.runs.store import RunFolder

TINY = """
rounds = 4
[data]
name = "heart-disease"
[data.partition]
name = "natural"
[model]
name = "logistic"
[strategy]
fraction = 1.0
"""


def tiny(folder: Path, more: str) -> Sweep:
    """A sweep of short runs."""
    file = folder / "tiny.toml"
    file.write_text(TINY + more, encoding="utf-8")
    return load_sweep(file)


def steps(sweep: Sweep, folder: Path, order: int = 0) -> Iterator[str]:
    """Do one task after another, in an order that this number draws; gives the name of each one done."""
    folder.mkdir(exist_ok=True)
    shuffled = random.Random(order)
    for tasks in schedule(sweep, folder):
        for task in shuffled.sample(tasks, len(tasks)):
            place = folder / task.cell.folder
            if task.dominated:
                RunFolder(place).end("stopped", task.dominated)
            else:
                run_experiment(task.cell.experiment, place, until=task.until)
            yield task.cell.folder


def lines(folder: Path) -> dict[str, list[dict[str, object]]]:
    """What each run of a sweep recorded, but for the wall time."""
    return {
        file.parent.name: [
            {key: value for key, value in line.items() if key != "seconds"}
            for line in RunFolder(file.parent).rounds()
        ]
        for file in sorted(folder.glob("*/config.toml"))
    }
