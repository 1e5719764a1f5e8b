"""The conclusion of a comparison: the fewest bytes for the best accuracy, by a rule that the text states."""

import math
from collections.abc import Sequence

from hedgerow.experiments.report.compare import Row
from hedgerow.experiments.report.units import count, human_bytes


def headline(rows: Sequence[Row]) -> list[str]:
    """The fewest bytes among rows as accurate as the best; the noise; rows that missed the target.

    A row is as accurate as the best if its mean accuracy is at most one standard
    error of the difference below the best (Breiman et al. 1984, Classification
    and Regression Trees, section 3.4.3, has this rule with only the best one's
    error). Bytes are those until the target, or of the whole run if there is none;
    a seed that missed the target counts with everything it sent.

    Returns:
        One sentence each; none unless at least two rows can be compared: finished,
        with an accuracy, the same target and the same number of rounds.
    """
    known = [(r, r.accuracy) for r in rows if r.finished and r.accuracy is not None]
    if len(known) < 2 or len({(r.target, r.planned) for r, _ in known}) > 1:
        return []
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
    return [
        *_fewest(near, best.target),
        f"{noise} The best: {best.label}, {100 * highest:.1f} %.{within}",
        *([f"Missed {_percent(best.target)}: {', '.join(missed)}."] if missed else []),
    ]


def _fewest(near: Sequence[Row], target: float | None) -> list[str]:
    """The rows with the fewest bytes, in each direction."""
    costs = [(r, *_costs(r)) for r in near if target is None or r.reached]
    if not costs:
        return [f"No way within the noise of the best accuracy reached {_percent(target)}."]
    up_row, up, _ = min(costs, key=lambda cost: cost[1])
    both_row, _, both = min(costs, key=lambda cost: cost[2])
    aim = "" if target is None else f" to {_percent(target)}"
    found = (
        f"{up_row.label}, {_bytes(up_row, up)} up and {human_bytes(both)} up + down"
        if up_row is both_row
        else f"up, {up_row.label} with {_bytes(up_row, up)}; up + down, {both_row.label} with"
        f" {_bytes(both_row, both)}"
    )
    return [f"Fewest bytes{aim} within the noise of the best accuracy: {found}, all clients together."]


def _costs(r: Row) -> tuple[float, float]:
    """Bytes up, and up and down."""
    if r.least_to_target is not None and r.least_up_to_target is not None:
        return r.least_up_to_target, r.least_to_target
    return r.bytes_up, r.bytes_up + r.bytes_down


def _bytes(r: Row, spent: float) -> str:
    return f"{'at least ' * (r.target is not None and r.reached < len(r.seeds))}{human_bytes(spent)}"


def _percent(target: float | None) -> str:
    return f"{100 * (target or 0.0):g} %"


def _error(r: Row) -> float:
    """Standard error of the mean accuracy; 0 for one seed, where it is unknown."""
    return (r.accuracy_deviation or 0.0) / math.sqrt(len(r.accuracies))
