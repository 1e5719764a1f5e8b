"""What a run may cost. A new kind of cost is one line in `COSTS`; tables, plots and searches then have it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hedgerow.experiments.runs.recorded import Line, Run


@dataclass(frozen=True)
class Cost:
    """One kind of cost.

    Attributes:
        name: in files and in `[search] objectives`.
        title: in tables and on axes.
        unit: of its figures: "B", "s", "J", or none.
        after: of a run: what it had spent up to and including each round; empty if it recorded nothing.
    """

    name: str
    title: str
    unit: str
    after: Callable[[Run], Mapping[int, float]]

    def total(self, run: Run) -> float | None:
        """What the whole run has spent, `None` if it recorded nothing."""
        return max(self.after(run).values(), default=None)


def _summed(*keys: str) -> Callable[[Run], Mapping[int, float]]:
    """Sums of each round's figures."""
    return lambda run: _running(run, lambda line: sum(float(line.get(key, 0)) for key in keys))


def _clocked(name: str) -> Callable[[Run], Mapping[int, float]]:
    """Sums of a figure of the virtual clock, which only some runs have."""

    def after(run: Run) -> Mapping[int, float]:
        if not any(name in line.get("clock", {}) for line in run.lines):
            return {}
        return _running(run, lambda line: float(line.get("clock", {}).get(name, 0.0)))

    return after


def _running(run: Run, spent: Callable[[Line], float]) -> dict[int, float]:
    total, after = 0.0, {}
    for line in run.lines:
        total += spent(line)
        after[int(line["round"])] = total
    return after


def _epsilon(run: Run) -> Mapping[int, float]:
    """The ledger's epsilon, which already counts all rounds before."""
    return {int(x["round"]): float(x["epsilon"]) for x in run.lines if x.get("epsilon") is not None}


COSTS = (
    Cost("bytes_up", "bytes up", "B", _summed("bytes_up")),
    Cost("bytes", "bytes up + down", "B", _summed("bytes_up", "bytes_down")),
    Cost("seconds", "simulated time", "s", _clocked("seconds")),
    Cost("joules", "energy", "J", _clocked("joules")),
    Cost("price", "price", "", _clocked("price")),
    Cost("epsilon", "epsilon", "", _epsilon),
)
"""In the order of tables. Wall time is not one: it says more about the machine than about the way."""

BY_NAME = {cost.name: cost for cost in COSTS}
