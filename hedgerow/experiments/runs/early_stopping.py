"""When a way of training is given up: another one dominates it, by more than the noise."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hedgerow.experiments.config.expand import Cell, Sweep
from hedgerow.experiments.runs.recorded import Run, read_run
from hedgerow.experiments.runs.task import Task


@dataclass(frozen=True)
class Point:
    """A way of training after a round, over its seeds.

    Attributes:
        round: after which it was measured.
        accuracy: mean, from 0 to 1.
        error: standard error of the mean; 0 for one seed, where it is unknown.
        up: bytes that all clients had sent, mean.
        down: bytes that all clients had been sent, mean.
    """

    round: int
    accuracy: float
    error: float
    up: float
    down: float


def looks(sweep: Sweep, folder: Path) -> Iterator[list[Task]]:
    """All ways up to each look in turn, without those that are dominated by then."""
    assert sweep.early_stopping is not None
    rule, live = sweep.early_stopping, list(sweep.cells)
    known: dict[str, list[Point]] = {}
    look, ending = rule.every, list[Task]()
    while live:
        yield [*ending, *(Task(cell, until=look) for cell in live)]
        failed = {cell.experiment.label for cell in live if _failed(folder / cell.folder)}
        live = [cell for cell in live if not _failed(folder / cell.folder)]
        reasons = dict.fromkeys(failed, "")  # what a repeated try would change decides on nothing
        for label in failed:
            known.pop(label, None)
        ways = {label: cells for label, cells in _by_label(live).items() if label not in failed}
        for label, cells in ways.items():
            known[label] = points([read_run(folder / cell.folder) for cell in cells], look)
        reasons |= {label: dominated(label, known, rule.margin) for label in ways}
        live = [cell for cell in live if cell.experiment.rounds > look]
        ending = [Task(c, dominated=why) for c in live if (why := reasons[c.experiment.label])]
        live = [c for c in live if not reasons[c.experiment.label]]
        look += rule.every
    if ending:
        yield ending


def dominated(label: str, known: Mapping[str, Sequence[Point]], margin: float) -> str:
    """Why a way is dominated by another one; empty if it is not.

    Another way had, for no more bytes up and no more bytes down than this one has sent, an accuracy above
    the highest of this one by more than the margin and a standard error of the difference.

    Args:
        label: of the way.
        known: the points of all ways so far, by label.
        margin: difference in accuracy that is not minded.

    >>> plain = [Point(1, 0.50, 0.0, up=100, down=100)]
    >>> small = [Point(1, 0.80, 0.0, up=25, down=100)]
    >>> dominated("plain", {"plain": plain, "small": small}, margin=0.02)
    'small had 80.0 % after round 1, for no more bytes, and this at most 50.0 %'
    >>> dominated("small", {"plain": plain, "small": small}, margin=0.02)
    ''
    """
    own = known[label]
    if not own:
        return ""
    best, now = max(own, key=lambda point: point.accuracy), own[-1]
    for other, points in known.items():
        for point in points:
            ahead = point.accuracy - best.accuracy - math.hypot(point.error, best.error)
            if other != label and point.up <= now.up and point.down <= now.down and ahead > margin:
                return (
                    f"{other} had {100 * point.accuracy:.1f} % after round {point.round}, for no more bytes,"
                    f" and this at most {100 * best.accuracy:.1f} %"
                )
    return ""


def points(runs: Sequence[Run], last: int) -> list[Point]:
    """A way's points, at rounds up to `last` in which all its seeds have measured the accuracy."""
    measured = [run.accuracies() for run in runs]
    spent = [(run.spent("up"), run.spent("down")) for run in runs]
    found = []
    for round in sorted(set.intersection(*map(set, measured))):
        if round <= last:
            values = [accuracies[round] for accuracies in measured]
            deviation = statistics.stdev(values) if len(values) > 1 else 0.0
            up, down = (statistics.fmean(s[way][round] for s in spent) for way in (0, 1))
            error = deviation / math.sqrt(len(values))
            found.append(Point(round, statistics.fmean(values), error, up, down))
    return found


def _by_label(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.experiment.label, []).append(cell)
    return found


def _failed(place: Path) -> bool:
    return read_run(place).ended[0] == "failed"
