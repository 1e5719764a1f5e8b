"""The conclusion of a comparison: the least cost for the best accuracy, by a rule that the text states."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hedgerow.experiments.report.compare import Row
from hedgerow.experiments.report.units import amount, count
from hedgerow.experiments.runs.costs import BY_NAME, COSTS, Cost


@dataclass(frozen=True)
class Pick:
    """The way to choose if one kind of cost is what counts.

    Attributes:
        cost: what counts.
        row: the way.
    """

    cost: Cost
    row: Row

    def __str__(self) -> str:
        return spent(self.row, self.cost)


@dataclass(frozen=True)
class Conclusion:
    """What a comparison comes to.

    Attributes:
        picks: one for each kind of cost that all ways within the noise have; none if no way can be named.
        near: the ways that are as accurate as the best.
        sentences: the same in words: the picks, the noise, and the ways that missed the target.
    """

    picks: tuple[Pick, ...]
    near: tuple[Row, ...]
    sentences: tuple[str, ...]


def conclude(rows: Sequence[Row]) -> Conclusion:
    """The least cost among rows as accurate as the best; the noise; rows that missed the target.

    A row is as accurate as the best if its mean accuracy is at most one standard
    error of the difference below the best (Breiman et al. 1984, Classification
    and Regression Trees, section 3.4.3, has this rule with only the best one's
    error). Costs are those until the target, or of the whole run if there is none;
    a seed that missed the target counts with everything it spent.

    Returns:
        Empty unless at least two rows can be compared: finished, with an accuracy, the same
        target and the same number of rounds; or one is left, and all others were stopped early.
    """
    known = [(r, r.accuracy) for r in rows if r.finished and r.accuracy is not None]
    if len(known) == 1 < len(rows) and all(r.ended == "stopped" for r in rows if r is not known[0][0]):
        last = known[0][0]
        told = f"{last.label} is left: every other way was stopped early, as another one dominated it."
        return Conclusion(_picks([last]), (last,), (told,))
    if len(known) < 2 or len({(r.target, r.planned) for r, _ in known}) > 1:
        return Conclusion((), (), ())
    best, highest = max(known, key=lambda pair: pair[1])
    near = [r for r, accuracy in known if highest - accuracy <= math.hypot(_error(best), _error(r))]
    seeds = max(len(r.seeds) for r in near)
    noise = (
        "Noise: a standard error of the difference to the best, over the seeds."
        if seeds > 1
        else "One seed: the noise is unknown, and only the best accuracy counts as good."
    )
    within = "" if seeds == 1 else f" Within it: {', '.join(r.label for r in near)}."
    missed = [
        f"{r.label} ({r.reached} of {count(len(r.seeds), 'seed')} reached it)"
        for r, _ in known
        if r.target is not None and r.reached < len(r.seeds)
    ]
    picks = _picks(near)
    sentences = (
        _fewest(picks, best.target),
        f"{noise} The best: {best.label}, {100 * highest:.1f} %.{within}",
        *([f"Missed {percent(best.target)}: {', '.join(missed)}."] if missed else []),
    )
    return Conclusion(picks, tuple(near), sentences)


def headline(rows: Sequence[Row]) -> list[str]:
    """The sentences of `conclude`."""
    return list(conclude(rows).sentences)


def _picks(near: Sequence[Row]) -> tuple[Pick, ...]:
    able = [r for r in near if r.target is None or r.reached]
    found = []
    for cost in COSTS:
        if able and all(cost.name in r.costs for r in able):
            row = min(able, key=lambda r: r.costs[cost.name].counted)
            found.append(Pick(cost, row))
    return tuple(found)


def _fewest(picks: Sequence[Pick], target: float | None) -> str:
    """The picks in a sentence: bytes in each direction, and what else there is."""
    by_cost = {pick.cost.name: pick for pick in picks}
    if not by_cost:
        return f"No way within the noise of the best accuracy reached {percent(target)}."
    up, both = by_cost["bytes_up"], by_cost["bytes"]
    aim = "" if target is None else f" to {percent(target)}"
    found = (
        f"{up.row.label}, {up} up and {amount(both.row.costs['bytes'].counted, 'B')} up + down"
        if up.row is both.row
        else f"up, {up.row.label} with {up}; up + down, {both.row.label} with {both}"
    )
    others = "".join(
        f" Least {pick.cost.title}: {pick.row.label}, {pick}."
        for name, pick in by_cost.items()
        if BY_NAME[name].unit != "B"
    )
    return f"Fewest bytes{aim} within the noise of the best accuracy: {found}, all clients together.{others}"


def spent(row: Row, cost: Cost) -> str:
    """What a row's runs spent, as the rule counts it; "at least" if a seed missed the target."""
    missed = row.target is not None and row.reached < len(row.seeds)
    return f"{'at least ' * missed}{amount(row.costs[cost.name].counted, cost.unit)}"


def percent(target: float | None) -> str:
    """A target accuracy in per cent.

    >>> percent(0.75)
    '75 %'
    """
    return f"{100 * (target or 0.0):g} %"


def _error(r: Row) -> float:
    """Standard error of the mean accuracy; 0 for one seed, where it is unknown."""
    return (r.accuracy_deviation or 0.0) / math.sqrt(len(r.accuracies))
