"""No update is far larger than those of the others: a bound that follows from the last round that counted.

Of each part of a reply, the delta and every stream, the server keeps the median of the l2 norms of those
who counted. In the next round, whoever sends more than `Strategy.norm_bound` times that is dropped. Where
no round has counted yet, nothing is known beforehand: a round in which one is so much larger than the
median of the round itself fails, and its median bounds the next one. So does that of any round in which
too few counted, so that norms which have grown for everybody cost one round.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import inf
from statistics import median_low
from typing import TypeAlias, final

from hedgerow.types import PayloadError

Norms: TypeAlias = Mapping[str, Mapping[str, float]]
"""`{part: {client: l2 norm}}` of a round; the delta's part is called `""`, a stream's by its name."""

LEAST_CLIENTS = 3
"""The median of fewer that counted says nothing: one of them could decide it."""


@final
@dataclass(frozen=True)
class NormBound:
    """How large what a client sends may be.

    Attributes:
        factor: so many times the median; 0 for no bound.
        medians: `{part: median}`, as `ServerState.norms` has them.

    >>> bound = NormBound(10.0, {"": 2.0})
    >>> bound.check("", 20.0)
    >>> bound.check("", 20.5)
    Traceback (most recent call last):
    ...
    hedgerow.types.payload.PayloadError: the norm of its delta is 20.5; at most 10 times 2, the median of ...
    """

    factor: float = 0.0
    medians: Mapping[str, float] = field(default_factory=dict)

    def check(self, part: str, norm: float) -> None:
        """Raise `PayloadError` where a norm is too large."""
        median = self.medians.get(part, 0.0)
        if median and self.factor * median < norm < inf:
            raise PayloadError(
                f"the norm of its {part or 'delta'} is {norm:.4g}; at most {self.factor:g} times"
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
        for part, by_client in sorted(norms.items()):
            found = {client: norm for client, norm in by_client.items() if client not in dropped}
            if not self.factor or self.medians.get(part) or len(found) < LEAST_CLIENTS:
                continue
            median, client = median_low(found.values()), max(sorted(found), key=found.__getitem__)
            if median and found[client] > self.factor * median:
                return (
                    f"the norm of the {part or 'delta'} of {client} is {found[client]:.4g}, more than"
                    f" {self.factor:g} times {median:.4g}, the median of the round; no round before bounds"
                    " it, so that this one fails, and bounds the next"
                )
        return ""


BY_THE_MEDIAN = "the median of the round before"


def medians(norms: Norms, dropped: Collection[str], *, failed: bool) -> dict[str, float]:
    """What bounds the next round, of the parts of which this round says it.

    Of a round that counted, the medians of those who counted; of one that failed, of all who answered.

    >>> medians({"": {"a": 1.0, "b": 3.0, "c": 4.0, "d": 90.0}}, {"d"}, failed=False)
    {'': 3.0}
    """
    least = 1 if failed else LEAST_CLIENTS
    kept = {
        part: [norm for client, norm in by_client.items() if failed or client not in dropped]
        for part, by_client in norms.items()
    }
    return {part: median_low(found) for part, found in kept.items() if len(found) >= least}
