"""Quality under a budget, cost to a target and robustness, each way beside float32; and all as CSV.

The terms are those of arXiv:2605.08636: the accuracy that a budget buys, what reaching a target costs, and
what the least lucky seed gets.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hedgerow.experiments.report.compare import Row
from hedgerow.experiments.report.headline import percent
from hedgerow.experiments.report.results import Group
from hedgerow.experiments.report.units import amount
from hedgerow.experiments.runs.costs import BY_NAME, COSTS, Cost

_SENT_AS = ("strategy.pipeline", "strategy.downlink")
_PLAIN = "float32()"


@dataclass(frozen=True)
class Budget:
    """What all ways can afford: the least that any of them spent in its whole run.

    Attributes:
        cost: what is spent.
        most: of it.
        accuracies: of each way, the mean of the seeds' last accuracies for at most that; None where there
            is none.
    """

    cost: Cost
    most: float
    accuracies: tuple[float | None, ...]


def baseline(groups: Sequence[Group], rows: Sequence[Row]) -> Row | None:
    """The way that sends float32 in both directions, of several the most accurate; None without a choice.

    If all ways send float32, they differ in something else, and there is nothing to relate them to.
    """
    plain = [
        row
        for group, row in zip(groups, rows, strict=True)
        if row.finished and all(group.settings.get(key, _PLAIN) == _PLAIN for key in _SENT_AS)
    ]
    if not plain or len(plain) == len(rows):
        return None
    return max(plain, key=lambda row: -1.0 if row.accuracy is None else row.accuracy)


def fewer(row: Row, base: Row | None, cost: str) -> float | None:
    """How many times less of a cost than the baseline: to the target if both reached it, else in all."""
    if base is None or cost not in row.costs or cost not in base.costs:
        return None
    own, other = row.costs[cost], base.costs[cost]
    if row.target is not None and (own.to_target is None or other.to_target is None):
        return None
    mine, its = own.counted, other.counted
    return its / mine if mine else None


def under_budget(groups: Sequence[Group], cost: Cost = BY_NAME["bytes"]) -> Budget | None:
    """The accuracy of each way for what all of them can afford; None for fewer than two finished ways."""
    totals = [[cost.total(run) for run in group.runs] for group in groups if group.finished]
    known = [total for each in totals for total in each if total]
    if len(totals) < 2 or len(known) < sum(map(len, totals)):
        return None
    most = min(known)
    found = []
    for group in groups:
        last = [_for(run.accuracies(), cost.after(run), most) for run in group.runs]
        reached = [accuracy for accuracy in last if accuracy is not None]
        found.append(sum(reached) / len(reached) if len(reached) == len(last) and reached else None)
    return Budget(cost, most, tuple(found))


def headers(rows: Sequence[Row], base: Row | None, budget: Budget | None) -> list[str]:
    """The columns of `cells`."""
    names = ["accuracy (95 % t interval)", "worst seed"]
    if budget is not None:
        names.append(f"accuracy for {amount(budget.most, budget.cost.unit)} {budget.cost.title}")
    for cost in _known(rows):
        names.append(cost.title + _to(rows))
        if base is not None:
            names.append(f"{cost.title}: times less")
    return names


def cells(place: int, rows: Sequence[Row], base: Row | None, budget: Budget | None) -> list[str]:
    """The figures of the row at this place, as text."""
    row = rows[place]
    found = [_interval(row), "-" if not row.accuracies else _percent(min(row.accuracies))]
    if budget is not None:
        accuracy = budget.accuracies[place]
        found.append("-" if accuracy is None else _percent(accuracy))
    for cost in _known(rows):
        spent = row.costs.get(cost.name)
        least = "≥ " * bool(spent and row.target and row.reached < len(row.seeds))
        found.append("-" if spent is None else least + amount(spent.counted, cost.unit))
        if base is not None:
            ratio = fewer(row, base, cost.name)
            found.append("-" if ratio is None else times(ratio))
    return found


def times(ratio: float) -> str:
    """A ratio to three digits.

    >>> times(4.0), times(167.9)
    ('4.00x', '168x')
    """
    return f"{ratio:.0f}x" if ratio >= 100 else f"{ratio:.3g}x" if ratio >= 10 else f"{ratio:.2f}x"


def compared(ratio: float, cost: Cost) -> str:
    """How much less than the baseline's cost, or more.

    >>> compared(4.0, BY_NAME["bytes_up"]), compared(0.5, BY_NAME["joules"])
    ('4.00x fewer', '2.00x more')
    """
    if ratio < 1:
        return f"{times(1 / ratio)} more"
    return f"{times(ratio)} {'fewer' if cost.unit == 'B' else 'less'}"


def to_csv(rows: Sequence[Row], base: Row | None, budget: Budget | None) -> str:
    """All figures unrounded, a line for each way; empty where something is not known."""
    names = ["way", "seeds", "rounds", "finished", "target", "reached"]
    names += ["accuracy", "low_95", "high_95", "worst"]
    costs = _known(rows)
    names += [f"{c.name}{kind}" for c in costs for kind in ("", "_to_target", "_times_less")]
    names += [] if budget is None else [f"accuracy_for_{budget.most:.0f}_{budget.cost.name}"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for place, row in enumerate(rows):
        low, high = row.accuracy_interval or (None, None)
        line = [row.label, len(row.seeds), row.rounds, row.finished, row.target, row.reached]
        line += [row.accuracy, low, high, min(row.accuracies, default=None)]
        for cost in costs:
            spent = row.costs.get(cost.name)
            line += [spent and spent.total, spent and spent.to_target, fewer(row, base, cost.name)]
        writer.writerow([*line, *([] if budget is None else [budget.accuracies[place]])])
    return text.getvalue()


def _known(rows: Sequence[Row]) -> list[Cost]:
    return [cost for cost in COSTS if any(cost.name in row.costs for row in rows)]


def _to(rows: Sequence[Row]) -> str:
    targets = {row.target for row in rows} - {None}
    if not targets:
        return ""
    return f" to {percent(next(iter(targets)))}" if len(targets) == 1 else " to target"


def _for(accuracies: Mapping[int, float], spent: Mapping[int, float], most: float) -> float | None:
    """The last accuracy measured before more than this was spent."""
    affordable = [number for number in accuracies if spent.get(number, 0.0) <= most * (1 + 1e-9)]
    return accuracies[affordable[-1]] if affordable else None


def _interval(row: Row) -> str:
    if row.accuracy is None:
        return "-"
    if row.accuracy_interval is None:
        return _percent(row.accuracy)
    low, high = row.accuracy_interval
    return f"{_percent(row.accuracy)} ({100 * max(low, 0.0):.1f} to {100 * min(high, 1.0):.1f})"


def _percent(accuracy: float) -> str:
    return f"{100 * accuracy:.1f} %"
