"""The interface of an aggregation rule, which combines the vectors of a cohort's clients."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol, Self

from hedgerow.strategies.conditions import Condition, excludes
from hedgerow.types import Arrays, PayloadError, Vector


class OutOfRange(PayloadError):
    """A weighted value is larger than a sum can hold.

    Attributes:
        position: index of the value.
    """

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(reason)
        self.position = position


class Accumulator(Protocol):
    """Collects the vectors of one round's clients, then returns their aggregate.

    `check` and `add` refuse values that are not finite.
    """

    def check(self, values: Vector, weight: float, *, norm: float = inf) -> None:
        """Raise `PayloadError` if `add` would; adds nothing."""

    def add(self, client: str, values: Vector, weight: float, *, norm: float = inf) -> None:
        """Add one client's values.

        Args:
            client: its name.
            values: `(n,) float32`.
            weight: their weight, zero or more.
            norm: their l2 norm to three digits, if the caller knows it: it saves checks of vectors with a
                small norm. The result is the same without it.

        Raises:
            PayloadError: they cannot be added; nothing is changed.
        """

    def merge(self, other: Self) -> None:
        """Add everything that another accumulator of the same round was given.

        The result is the same, bit for bit, for any order of clients and any
        division into accumulators. Accumulators are pickled between processes.
        """

    def result(self) -> Vector:
        """The aggregate `(n,) float32` of everything that was added."""


RULE = ", such as median(), or parse_aggregate('median()')"
"""Example for the error about `aggregate`."""


def _result(found: Accumulator, state: Arrays) -> tuple[Vector, Arrays]:
    return found.result(), state


@dataclass(frozen=True)
class Aggregate:
    """A rule that combines the clients' vectors.

    Attributes:
        name: as written in a configuration.
        start: `(number of values, largest number of clients) -> Accumulator`.
        linear: the result is a weighted sum of what was added, so it may be
            computed on encoded values of a summable pipeline.
        mean: the result is the weighted mean, computed by a `FixedPointMean`, so a round
            that reveals only a sum, masked or noisy, can compute it from that.
        weights: whether a client's weight counts; a rule that bounds the influence
            of one client does not let it choose its weight.
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
        """The rule's traits, for the conditions of other parts."""
        return frozenset(name for name in ("linear", "mean") if getattr(self, name))

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The rule's conditions on the strategy."""
        return () if self.weights else (_ALIKE,)


_ALIKE = excludes(
    "weight",
    reason="{aggregate.name} counts all clients the same, but {pipeline.name} weights them;"
    " use weighted=False, or mean()",
)
