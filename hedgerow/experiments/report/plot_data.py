"""The data in a report's plots, computed once for PNG and HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hedgerow.experiments.report.results import Group
from hedgerow.experiments.report.units import human_bytes

Floats = NDArray[np.float64]

LIGHT = ("#0072B2", "#D55E00", "#00865F", "#B0508C", "#8F6B00", "#2A93D0", "#5F6670", "#7A1F3D")
"""Colours on white: hues of Okabe and Ito (jfly.uni-koeln.de/color), told apart by colour-blind
readers, darkened until each has a contrast of 3 with white."""

DARK = ("#56A8F0", "#FF9248", "#35C79A", "#E79AC9", "#E6C229", "#8FD3FF", "#A9B1BC", "#E0708F")
"""The same for a dark page."""

DASHES = ("solid", "dash", "dot", "dashdot")
"""From the ninth line on, the colours repeat with another stroke."""

BYTES = {"total": "sent up and down", "up": "sent up"}
"""The two ways of counting a round's cost, and their names on an axis."""

MOST_CLIENTS = 2000


@dataclass(frozen=True)
class Curve:
    """Accuracy of one group of runs, at rounds in which all its seeds have measured it.

    Attributes:
        label: of the group.
        place: index among the groups, which fixes the colour.
        rounds: `(n,) int64`, increasing; 0 is the untrained model.
        mean: `(n,) float64`, over seeds, from 0 to 1; so are the next two.
        low: lowest of the seeds.
        high: highest of the seeds.
        bytes: by `BYTES`: `(n,) float64`, spent by all clients up to and
            including each round, mean over seeds.
    """

    label: str
    place: int
    rounds: NDArray[np.int64]
    mean: Floats
    low: Floats
    high: Floats
    bytes: dict[str, Floats]


@dataclass(frozen=True)
class CostCurve:
    """A curve's accuracy by bytes; rounds that cost nothing are left out.

    Attributes:
        curve: that it belongs to.
        bytes: `(m,) float64`, above 0.
        mean: `(m,) float64`, accuracy.
    """

    curve: Curve
    bytes: Floats
    mean: Floats


def curves(groups: Sequence[Group]) -> list[Curve]:
    """One curve for each group with any accuracy."""
    made = []
    for place, group in enumerate(groups):
        measured = [run.accuracies() for run in group.runs]
        rounds = sorted(set.intersection(*(set(m) for m in measured)))
        if rounds:
            values = np.array([[m[r] for r in rounds] for m in measured])
            spent = {
                way: np.array([[run.spent(way)[r] for r in rounds] for run in group.runs]).mean(0)
                for way in ("up", "down")
            }
            costs = {"total": spent["up"] + spent["down"], "up": spent["up"]}
            made.append(
                Curve(
                    group.label, place, np.array(rounds), values.mean(0), values.min(0), values.max(0), costs
                )
            )
    return made


def cost_curves(drawn: Sequence[Curve], way: str) -> list[CostCurve]:
    """Accuracy against bytes; `way` is a key of `BYTES`."""
    made = []
    for curve in drawn:
        paid = curve.bytes[way] > 0
        if paid.any():
            made.append(CostCurve(curve, curve.bytes[way][paid], curve.mean[paid]))
    return made


def pareto(bytes: Floats, accuracy: Floats) -> NDArray[np.bool_]:
    """Which points are on the Pareto front of few bytes and high accuracy.

    Args:
        bytes: `(n,) float64`.
        accuracy: `(n,) float64`.

    Returns:
        `(n,) bool`: true where no other point costs at most as much and is at
        least as accurate, one of the two strictly. Equal points are on the
        front together.

    >>> pareto(np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.4, 0.9])).tolist()
    [True, False, True]
    """
    order = np.lexsort((-accuracy, bytes))
    on_front = np.zeros(len(bytes), bool)
    best, cost = -np.inf, -np.inf
    for place in order:
        if accuracy[place] > best or (accuracy[place] == best and bytes[place] == cost):
            on_front[place], best, cost = True, accuracy[place], bytes[place]
    return on_front


def front(drawn: Sequence[CostCurve]) -> tuple[Floats, Floats]:
    """Bytes and accuracy of the front over all curves, by increasing bytes."""
    if not drawn:
        return np.empty(0), np.empty(0)
    cost, reached = np.concatenate([t.bytes for t in drawn]), np.concatenate([t.mean for t in drawn])
    on_front = pareto(cost, reached)
    order = np.argsort(cost[on_front], kind="stable")
    return cost[on_front][order], reached[on_front][order]


def spread(places: Sequence[float], gap: float, low: float = -np.inf, high: float = np.inf) -> list[float]:
    """Move labels apart as little as possible, so that neighbours are at least `gap` apart.

    The order is kept. Labels that would touch are placed as a block around the mean
    of their original places, between `low` and `high`; if they do not all fit there,
    they start at `low`.

    >>> spread([1.0, 1.0, 5.0], 2.0)
    [0.0, 2.0, 5.0]
    """

    def bottom(members: list[int]) -> float:
        height = gap * (len(members) - 1)
        start = sum(places[m] for m in members) / len(members) - height / 2
        return max(min(start, high - height), low)

    blocks: list[list[int]] = []
    for place in sorted(range(len(places)), key=lambda i: places[i]):
        blocks.append([place])
        while len(blocks) > 1 and bottom(blocks[-2]) + gap * len(blocks[-2]) > bottom(blocks[-1]):
            upper = blocks.pop()
            blocks[-1] = blocks[-1] + upper
    moved = list(places)
    for block in blocks:
        for step, member in enumerate(block):
            moved[member] = bottom(block) + step * gap
    return moved


def byte_ticks(low: float, high: float, fine: bool = False) -> list[tuple[float, str]]:
    """Positions and labels of ticks on a log axis from `low` to `high` bytes; `fine` for less than a decade.

    >>> byte_ticks(9e5, 6e6)
    [(1000000.0, '1 MB'), (2000000.0, '2 MB'), (5000000.0, '5 MB')]
    """
    steps: Sequence[float] = (1, 2, 5) if high / low < 100 else (1,)
    if fine and high / low < 10:
        steps = (1, 1.5, 2, 3, 4, 6, 8) if high / low > 2 else [1 + s / 10 for s in range(90)]
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [float(step * 10.0**decade) for decade in decades for step in steps]
    return [(t, human_bytes(t, short=True)) for t in ticks if low <= t <= high]


class Accuracies(Protocol):
    """Anything that has accuracies from a lowest to a highest seed."""

    @property
    def low(self) -> Floats: ...

    @property
    def high(self) -> Floats: ...


def accuracy_range(drawn: Sequence[Accuracies]) -> tuple[float, float]:
    """Axis from the lowest to the highest accuracy, with a margin of 4 %."""
    low, high = (
        min((c.low.min() for c in drawn), default=0.0),
        max((c.high.max() for c in drawn), default=1.0),
    )
    margin = 0.04 * max(high - low, 0.01)
    return float(low - margin), float(high + margin)
