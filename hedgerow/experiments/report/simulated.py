"""What runs with a virtual clock took and cost: simulated seconds, joules and money."""

import statistics
from collections.abc import Sequence

from hedgerow.experiments.runs.recorded import Run

FIGURES = ("seconds", "joules", "price")


def simulated(runs: Sequence[Run], ends: Sequence[int | None]) -> dict[str, float]:
    """The figures up to a round of each run, or of all its rounds: means over the runs that have a clock."""
    known = [
        [line["clock"] for line in run.trained if "clock" in line and (end is None or line["round"] <= end)]
        for run, end in zip(runs, ends, strict=True)
    ]
    if not known or not all(known):
        return {}
    return {name: statistics.fmean(sum(clock[name] for clock in run) for run in known) for name in FIGURES}


def human_joules(joules: float | None) -> str:
    """Energy to three digits.

    >>> human_joules(12.3), human_joules(4567.0), human_joules(None)
    ('12.3 J', '4.57 kJ', '-')
    """
    if joules is None:
        return "-"
    if joules >= 1e6:
        return f"{joules / 1e6:.3g} MJ"
    return f"{joules / 1e3:.3g} kJ" if joules >= 1e3 else f"{joules:.3g} J"


def human_seconds(seconds: float | None) -> str:
    """Simulated time, from seconds to days.

    >>> human_seconds(42.0), human_seconds(5000.0), human_seconds(200000.0), human_seconds(None)
    ('42 s', '83.3 min', '55.6 h', '-')
    """
    if seconds is None:
        return "-"
    for limit, unit, length in ((600, "s", 1), (36000, "min", 60), (864000, "h", 3600)):
        if seconds < limit:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds / 86400:.3g} d"
