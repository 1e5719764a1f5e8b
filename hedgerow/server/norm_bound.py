"""No update is far larger than those of the others: a bound that follows from the rounds that counted.

Of each part of a reply, the delta and every stream, the server takes the median of the l2 norms of those
who counted, and keeps the largest median of the run. In the next round, whoever sends more than
`Strategy.norm_bound` times that is dropped. Honest clients are unlike, and two of their differences count:

- **The largest median, not the last.** As clients learn, most norms vanish, and those of who comes for the
  first time, or has other labels than most, do not: a bound that shrank would drop them, and the model
  would go on without them. So nobody moves the model by much more than was usual when it moved most.
- **Local steps.** A delta grows with them. Who by its number of samples has taken `k` times the median's
  may send `k` times as much; `k` is at most `Strategy.norm_bound`, so that a claim of samples gains no more.

Where no round has counted yet, nothing is known beforehand: a round in which one is so much larger than
the median of the round itself fails, and its median bounds the next one. So does that of any round in which
too few counted, so that norms which have grown for everybody cost one round.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import inf
from statistics import median_low
from typing import TypeAlias, final

from hedgerow.types import PayloadError

Norms: TypeAlias = Mapping[str, Mapping[str, float]]
"""`{part: {client: l2 norm}}` of a round; the delta's part is called `""`, a stream's by its name.

Under `STEPS` are no norms, but the local steps of each.
"""

STEPS = "local steps"
"""Local steps stand beside the norms under a name that no stream has."""

LEAST_CLIENTS = 3
"""The median of fewer says nothing: one of them could decide it, for the rest of the run."""


@final
@dataclass(frozen=True)
class NormBound:
    """How large what a client sends may be.

    Attributes:
        factor: so many times the median; 0 for no bound.
        medians: `{part: median}`, as `ServerState.norms` has them.

    >>> bound = NormBound(10.0, {"": 2.0, STEPS: 4.0})
    >>> bound.check("", 20.0)
    >>> bound.check("", 39.0, steps=8)
    >>> bound.check("", 20.5)
    Traceback (most recent call last):
    ...
    hedgerow.types.payload.PayloadError: the norm of its delta is 20.5; at most 10 times 2, the largest ...
    """

    factor: float = 0.0
    medians: Mapping[str, float] = field(default_factory=dict)

    def check(self, part: str, norm: float, steps: float = 0) -> None:
        """Raise `PayloadError` where a norm is too large for a client that has taken so many local steps."""
        median, times = self.medians.get(part, 0.0), self._times(steps, self.medians.get(STEPS, 0.0))
        if median and times * median < norm < inf:
            raise PayloadError(
                f"the norm of its {part or 'delta'} is {norm:.4g}; at most {times:g} times"
                f" {median:.4g}, {BY_THE_MEDIAN}, is allowed"
            )

    def why_failed(self, norms: Norms, dropped: Collection[str] = ()) -> str:
        """Why a round fails whose parts no earlier round has bounded; an empty text where it does not.

        Args:
            norms: of the round.
            dropped: clients that do not count, whatever theirs are.

        >>> why = NormBound(10.0).why_failed({"": {"a": 1.0, "b": 2.0, "c": 30.0}})
        >>> why.partition(";")[0]
        'the norm of the delta of c is 30, more than 10 times 2, the median of the round'
        """
        counted = {part: _without(by_client, dropped) for part, by_client in norms.items()}
        steps = counted.pop(STEPS, {})
        usual = median_low(steps.values()) if steps else 0.0
        for part, found in sorted(counted.items()):
            if not self.factor or self.medians.get(part) or len(found) < LEAST_CLIENTS:
                continue
            median = median_low(found.values())
            times = {client: self._times(steps.get(client, 0), usual) for client in found}
            client = max(sorted(found), key=lambda each: found[each] / times[each])
            if median and found[client] > times[client] * median:
                return (
                    f"the norm of the {part or 'delta'} of {client} is {found[client]:.4g}, more than"
                    f" {times[client]:g} times {median:.4g}, the median of the round; no round before bounds"
                    " it, so that this one fails, and bounds the next"
                )
        return ""

    def _times(self, steps: float, usual: float) -> float:
        """So many times the median are allowed to who has taken so many steps, where so many are usual."""
        more = steps / usual if usual else 1.0
        return self.factor * min(max(1.0, more), max(1.0, self.factor))


BY_THE_MEDIAN = "the largest median of the rounds before"


def medians(
    norms: Norms, dropped: Collection[str], before: Mapping[str, float], *, failed: bool
) -> dict[str, float]:
    """What bounds the next round, of the parts of which this round says it.

    Of a round that counted, the medians of those who counted; of one that failed, of all who answered.
    Those `before` stay where they are larger.

    >>> medians({"": {"a": 1.0, "b": 3.0, "c": 4.0, "d": 90.0}}, {"d"}, {"": 2.0}, failed=False)
    {'': 3.0}
    """
    kept = {part: _without(by_client, () if failed else dropped) for part, by_client in norms.items()}
    return {
        part: max(median_low(found.values()), before.get(part, 0.0))
        for part, found in kept.items()
        if len(found) >= LEAST_CLIENTS
    }


def _without(by_client: Mapping[str, float], dropped: Collection[str]) -> dict[str, float]:
    return {client: norm for client, norm in by_client.items() if client not in dropped}
