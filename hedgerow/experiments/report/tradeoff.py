"""The cost of privacy in accuracy: each way of training, over its values of epsilon."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hedgerow.experiments.report.plot_data import Floats
from hedgerow.experiments.report.results import Group

_BUDGET = ("strategy.epsilon", "strategy.noise_multiplier")


@dataclass(frozen=True)
class Family:
    """Groups of runs that differ only in their privacy budget.

    Attributes:
        label: what they share.
        place: index among the families, which fixes the colour.
        epsilon: `(n,) float64`, spent by the end, increasing; empty if not private.
        mean: `(n,) float64`, the last accuracy, mean over seeds; one value if not
            private. The next two have the same shape.
        low: lowest of the seeds.
        high: highest of the seeds.
    """

    label: str
    place: int
    epsilon: Floats
    mean: Floats
    low: Floats
    high: Floats

    @property
    def private(self) -> bool:
        """Whether there is an epsilon."""
        return bool(len(self.epsilon))


def families(groups: Sequence[Group]) -> list[Family]:
    """The finished ways of training; empty unless one of them was run with several epsilons."""
    alike: dict[str, list[Group]] = {}
    for group in groups:
        if group.finished and all(run.accuracies() for run in group.runs):
            settings = {key: value for key, value in group.settings.items() if key not in _BUDGET}
            alike.setdefault(json.dumps(settings, sort_keys=True, default=str), []).append(group)
    found = [_family(members, place) for place, members in enumerate(alike.values())]
    return found if any(len(family.epsilon) > 1 for family in found) else []


def _family(members: list[Group], place: int) -> Family:
    spent = [max((run.epsilon or 0.0 for run in group.runs), default=0.0) for group in members]
    order = np.argsort(spent, kind="stable")
    last = [[list(run.accuracies().values())[-1] for run in members[i].runs] for i in order]
    return Family(
        label=_shared(members[0].label),
        place=place,
        epsilon=np.array([spent[i] for i in order if spent[i]]),
        mean=np.array([np.mean(values) for values in last]),
        low=np.array([min(values) for values in last]),
        high=np.array([max(values) for values in last]),
    )


def _shared(label: str) -> str:
    """A label without its epsilon.

    >>> _shared("secure, epsilon=2.0"), _shared("epsilon=2.0, noise=skellam"), _shared("epsilon=2.0")
    ('secure', 'noise=skellam', 'all')
    """
    parts = re.sub(r"\b(epsilon|noise_multiplier)=[^\s,]+", "", label).split(",")
    return ", ".join(part.strip() for part in parts if part.strip()) or "all"


def epsilon_ticks(drawn: Sequence[Family]) -> list[float]:
    """Tick positions of an epsilon axis: the measured values, one of several close ones."""
    ticks: list[float] = []
    for value in sorted(float(e) for family in drawn for e in family.epsilon):
        if not ticks or value > 1.12 * ticks[-1]:
            ticks.append(value)
    return ticks
