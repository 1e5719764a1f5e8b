"""The data in a report's plots."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hedgerow.experiments.report.intervals import interval
from hedgerow.experiments.report.results import Group
from hedgerow.experiments.report.units import amount
from hedgerow.experiments.runs.costs import COSTS

Floats = NDArray[np.float64]

LIGHT = ("#0072B2", "#D55E00", "#00865F", "#B0508C", "#8F6B00", "#2A93D0", "#5F6670", "#7A1F3D")
"""Colours on white: hues of Okabe and Ito (jfly.uni-koeln.de/color), told apart by colour-blind
readers, darkened until each has a contrast of 3 with white."""

DARK = ("#56A8F0", "#FF9248", "#35C79A", "#E79AC9", "#E6C229", "#8FD3FF", "#A9B1BC", "#E0708F")
"""The same for a dark page."""

MOST_CLIENTS = 2000

FEWEST_SEEDS = 3
"""With which a t interval is drawn; of fewer, the seeds are."""


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
        ends: `(seeds,) float64`, accuracy of each seed in the last of these rounds.
        costs: by the name of each kind in `COSTS` that all its runs recorded: `(n,) float64`, spent up to
            and including each round, mean over seeds.
    """

    label: str
    place: int
    rounds: NDArray[np.int64]
    mean: Floats
    low: Floats
    high: Floats
    ends: Floats
    costs: dict[str, Floats]


@dataclass(frozen=True)
class CostCurve:
    """A curve's accuracy by its cost; rounds that cost nothing are left out.

    Attributes:
        curve: that it belongs to.
        cost: `(m,) float64`, above 0.
        mean: `(m,) float64`, accuracy.
    """

    curve: Curve
    cost: Floats
    mean: Floats


def curves(groups: Sequence[Group]) -> list[Curve]:
    """One curve for each group with any accuracy."""
    made = []
    for place, group in enumerate(groups):
        measured = [run.accuracies() for run in group.runs]
        rounds = sorted(set.intersection(*(set(m) for m in measured)))
        if rounds:
            values = np.array([[m[r] for r in rounds] for m in measured])
            made.append(
                Curve(
                    group.label, place, np.array(rounds), values.mean(0), values.min(0), values.max(0),
                    values[:, -1], _costs(group, rounds),
                )
            )  # fmt: skip
    return made


def _costs(group: Group, rounds: Sequence[int]) -> dict[str, Floats]:
    found = {}
    for cost in COSTS:
        spent = [cost.after(run) for run in group.runs]
        if all(spent):
            # What is counted from round 1, such as epsilon, is nothing before it.
            found[cost.name] = np.array([[after.get(r, 0.0) for r in rounds] for after in spent]).mean(0)
    return found


def cost_curves(drawn: Sequence[Curve], cost: str) -> list[CostCurve]:
    """Accuracy against one kind of cost, of the curves that have it."""
    made = []
    for curve in drawn:
        paid = curve.costs.get(cost, np.zeros(len(curve.rounds))) > 0
        if paid.any():
            made.append(CostCurve(curve, curve.costs[cost][paid], curve.mean[paid]))
    return made


def pareto(cost: Floats, accuracy: Floats) -> NDArray[np.bool_]:
    """Which points are on the Pareto front of low cost and high accuracy.

    Args:
        cost: `(n,) float64`.
        accuracy: `(n,) float64`.

    Returns:
        `(n,) bool`: true where no other point costs at most as much and is at
        least as accurate, one of the two strictly. Equal points are on the
        front together.

    >>> pareto(np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.4, 0.9])).tolist()
    [True, False, True]
    """
    order = np.lexsort((-accuracy, cost))
    on_front = np.zeros(len(cost), bool)
    best, spent = -np.inf, -np.inf
    for place in order:
        if accuracy[place] > best or (accuracy[place] == best and cost[place] == spent):
            on_front[place], best, spent = True, accuracy[place], cost[place]
    return on_front


def front(drawn: Sequence[CostCurve]) -> tuple[Floats, Floats]:
    """Cost and accuracy of the front over all curves, by increasing cost."""
    if not drawn:
        return np.empty(0), np.empty(0)
    cost, reached = np.concatenate([t.cost for t in drawn]), np.concatenate([t.mean for t in drawn])
    on_front = pareto(cost, reached)
    order = np.argsort(cost[on_front], kind="stable")
    return cost[on_front][order], reached[on_front][order]


def log_ticks(low: float, high: float, unit: str) -> list[tuple[float, str]]:
    """Positions and labels of ticks on a log axis from `low` to `high`.

    >>> log_ticks(9e5, 6e6, "B")
    [(1000000.0, '1 MB'), (2000000.0, '2 MB'), (5000000.0, '5 MB')]
    """
    ratio = high / low
    steps: Sequence[float] = (1, 2, 5) if ratio < 100 else (1,)
    if ratio < 5:
        steps = (1, 1.5, 2, 3, 4, 6, 8) if ratio > 2 else [1 + s / 10 for s in range(90)]
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [float(step * 10.0**decade) for decade in decades for step in steps]
    return [(t, amount(t, unit, short=True)) for t in ticks if low <= t <= high]


def even_ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Round numbers at even distances from `low` to `high`, at most as many.

    >>> even_ticks(0.0, 40.0)
    [0.0, 10.0, 20.0, 30.0, 40.0]
    """
    rough = (high - low) / max(most - 1, 1)
    decade = 10.0 ** np.floor(np.log10(rough))
    step = next(float(s * decade) for s in (1, 2, 2.5, 5, 10) if s * decade >= rough * (1 - 1e-9))
    first = int(np.ceil(low / step - 1e-9))
    last = int(np.floor(high / step + 1e-9))
    return [round(k * step, 12) for k in range(first, last + 1)]


def accuracy_range(drawn: Sequence[Curve]) -> tuple[float, float]:
    """Axis from the lowest to the highest accuracy, with a margin of 4 %."""
    low, high = (
        min((c.low.min() for c in drawn), default=0.0),
        max((c.high.max() for c in drawn), default=1.0),
    )
    margin = 0.04 * max(high - low, 0.01)
    return float(low - margin), float(high + margin)


def bounds_of(curve: Curve) -> tuple[float, float] | None:
    """The t interval of where a curve ends; `None` for so few seeds that it is wider than any plot."""
    return interval(curve.ends.tolist()) if len(curve.ends) >= FEWEST_SEEDS else None


def end_range(drawn: Sequence[Curve]) -> tuple[float, float]:
    """Axis around the accuracies that the curves end at, where ways are to be told apart."""
    reached = [value for c in drawn for value in (*(bounds_of(c) or ()), *c.ends.tolist())] or [0.0, 1.0]
    low, high = min(reached), max(reached)
    return low - max(0.5 * (high - low), 0.02), high + max(0.2 * (high - low), 0.01)
