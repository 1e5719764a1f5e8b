"""The interface of a rule that combines what the clients of a cohort sent."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol, Self

from hedgerow.strategies.conditions import Condition, excludes
from hedgerow.types import Arrays, PayloadError, Vector


class OutOfRange(PayloadError):
    """A weighted value is larger than a sum can hold.

    Attributes:
        position: of the value.
    """

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(reason)
        self.position = position


class Accumulator(Protocol):
    """Takes what clients sent in one round, then gives their aggregate.

    What is not finite is refused by `check` and `add`.
    """

    def check(self, values: Vector, weight: float, *, norm: float = inf) -> None:
        """Raise `PayloadError` where `add` would; add nothing."""

    def add(self, client: str, values: Vector, weight: float, *, norm: float = inf) -> None:
        """Add one client's values.

        Args:
            client: its name.
            values: `(n,) float32`.
            weight: what they count, zero or more.
            norm: their l2 norm to three digits, where the caller knows it: what a short vector needs not
                be asked. Without it the result is the same.

        Raises:
            PayloadError: they cannot be added; nothing is changed.
        """

    def merge(self, other: Self) -> None:
        """Count in all that another accumulator of the same round was given.

        In whatever order and in however many accumulators clients are counted,
        the result is the same, bit for bit. Accumulators are pickled between
        processes.
        """

    def result(self) -> Vector:
        """The aggregate `(n,) float32` of what was added."""


RULE = ", such as median(), or parse_aggregate('median()')"
"""What else to give, for an error."""


def _result(found: Accumulator, state: Arrays) -> tuple[Vector, Arrays]:
    return found.result(), state


@dataclass(frozen=True)
class Aggregate:
    """A rule that combines what clients sent.

    Attributes:
        name: as written in a configuration.
        start: `(number of values, largest number of clients) -> Accumulator`.
        linear: the result is a weighted sum of what was added, so that it may
            be computed on encoded values of a summable pipeline.
        mean: it is the weighted mean and nothing else, by a `FixedPointMean`, so that a
            round which shows a sum alone, masked or noised, may compute it from that.
        weights: whether a client's weight counts; a rule that bounds what one
            client can do does not ask it how much it counts.
        init: the rule's state before the first round, from the number of values.
        apply: `(accumulator, state) -> (the aggregate (n,) float32, next state)`.
    """

    name: str
    start: Callable[[int, int], Accumulator]
    linear: bool
    weights: bool = True
    mean: bool = False
    init: Callable[[int], Arrays] = lambda n: {}
    apply: Callable[[Any, Arrays], tuple[Vector, Arrays]] = _result

    @property
    def traits(self) -> frozenset[str]:
        """The rule's traits, which the conditions of other parts name."""
        return frozenset(name for name in ("linear", "mean") if getattr(self, name))

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What the rule requires of the strategy."""
        return () if self.weights else (_ALIKE,)


_ALIKE = excludes(
    "weight",
    reason="{aggregate.name} counts all clients alike, and {pipeline.name} weights them;"
    " take weighted=False, or mean()",
)
