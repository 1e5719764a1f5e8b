"""Bound the norm of each update, relative to the norms in the rounds that counted.

For each part of a reply, the delta and every stream, the server computes the median of the l2 norms of the
clients that counted, and keeps the largest median of the run. In the next round, a client that sends more
than `Strategy.norm_bound` times that is dropped. Honest clients differ, and two differences are allowed for:

- **The largest median, not the last.** As clients learn, most norms shrink, but not those of clients that
  take part for the first time or have unusual labels: a bound that shrank would drop them, and the model
  would be trained without them. So nobody moves the model by much more than was usual when it moved most.
- **Local steps.** A delta grows with them. A client whose number of samples implies `k` times the median
  number of steps may send `k` times as much; `k` is at most `Strategy.norm_bound`, which limits what a false
  claim of samples gains.

Until a round has counted, there is no bound: a round in which one norm exceeds the median of that round by as
much fails, and its median bounds the next one. The median of any failed round bounds the next, so norms that
have grown for everybody cost only one round.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import inf
from statistics import median_low
from typing import TypeAlias, final

from hedgerow.types import PayloadError

Norms: TypeAlias = Mapping[str, Mapping[str, float]]
"""`{part: {client: l2 norm}}` of a round; the delta's part is `""`, a stream's is its name.

The entry `STEPS` holds each client's local steps instead of norms.
"""

STEPS = "local steps"
"""Key of the local steps among the norms; no stream has this name."""

LEAST_CLIENTS = 3
"""With fewer clients there is no median: one of them could determine it for the rest of the run."""


@final
@dataclass(frozen=True)
class NormBound:
    """The bound on the norms of what a client sends.

    Attributes:
        factor: allowed multiple of the median; 0 for no bound.
        medians: `{part: median}`, from `ServerState.norms`.

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
        """Raise `PayloadError` if a norm is too large for a client that has taken `steps` local steps."""
        median = self.medians.get(part, 0.0)
        if not median or norm <= self.factor * median:  # allowed whatever the steps
            return
        times = self._times(steps, self.medians.get(STEPS, 0.0))
        if times * median < norm < inf:
            raise PayloadError(
                f"the norm of its {part or 'delta'} is {norm:.4g}; at most {times:g} times"
                f" {median:.4g}, {BY_THE_MEDIAN}, is allowed"
            )

    def why_failed(self, norms: Norms, dropped: Collection[str] = ()) -> str:
        """Why a round fails that no earlier round bounds; an empty string if it does not fail.

        Args:
            norms: of the round.
            dropped: clients that do not count, whatever their norms.

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
                    f" {times[client]:g} times {median:.4g}, the median of the round; no earlier round bounds"
                    " it, so this round fails, and bounds the next"
                )
        return ""

    def _times(self, steps: float, usual: float) -> float:
        """The multiple of the median allowed after `steps` local steps, if `usual` is their median."""
        more = steps / usual if usual else 1.0
        return self.factor * min(max(1.0, more), max(1.0, self.factor))


BY_THE_MEDIAN = "the largest median of the rounds before"


def medians(
    norms: Norms, dropped: Collection[str], before: Mapping[str, float], *, failed: bool
) -> dict[str, float]:
    """The medians that bound the next round, for the parts with enough norms in this round.

    They are taken over the clients that counted or, if the round failed, over all that answered. Values
    of `before` stay if they are larger.

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
