"""The costs of a virtual clock in a table: simulated seconds, joules and money."""

from hedgerow.experiments.report.compare import Row
from hedgerow.experiments.report.units import amount
from hedgerow.experiments.runs.costs import BY_NAME

HEADERS = {"seconds": ("sim.\ntime", 1), "joules": ("energy", 2), "price": ("price", 3)}
"""Of their columns, and how early these are left out."""


def spent(name: str, row: Row) -> float | None:
    """What all rounds cost; `None` without a clock."""
    return row.costs[name].total if name in row.costs else None


def text_of(name: str, row: Row) -> str:
    """The same, as it is shown."""
    return amount(spent(name, row), BY_NAME[name].unit)


def to_target(name: str, row: Row) -> str:
    """What it cost until the target, as it is shown."""
    return amount(row.costs[name].to_target if name in row.costs else None, BY_NAME[name].unit)
