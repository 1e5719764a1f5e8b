"""What of a client's payload is added to the sum: its encoded values, or its decoded delta."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, final

from hedgerow.strategies.norms import l2_norm
from hedgerow.strategies.pipeline.coding import check_payload, decode
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import (
    Layout,
    Payload,
    PayloadError,
    RoundContext,
    Vector,
)

MakeContext: TypeAlias = Callable[[], RoundContext]
"""Makes the context of a client's payload, where one is needed."""


class Counting(Protocol):
    """What of a payload is added, and how the aggregate of that becomes a delta."""

    @property
    def shows_metrics(self) -> bool:
        """Whether the clients' metrics are reported."""

    def size(self, strategy: Strategy, layout: Layout) -> int:
        """Number of values that each client adds."""

    def fitting(self, strategy: Strategy, clients: int) -> int:
        """The number of clients whose sum must fit, in a cohort of `clients`."""

    def values(self, strategy: Strategy, layout: Layout, payload: Payload, context: MakeContext) -> Vector:
        """The values that a client adds; raises `PayloadError` if the payload is not valid."""

    def delta(self, strategy: Strategy, aggregate: Vector, context: RoundContext) -> Vector:
        """The delta `(d,) float32` from an aggregate of what clients added."""


@final
@dataclass(frozen=True)
class OnSum:
    """Encoded payloads of a summable pipeline are summed, and decoded once."""

    shows_metrics: bool = True

    def size(self, strategy: Strategy, layout: Layout) -> int:
        """The number of values that the pipeline sends."""
        return strategy.pipeline.length(layout.dimension)

    def fitting(self, strategy: Strategy, clients: int) -> int:
        """The cohort."""
        return clients

    def values(self, strategy: Strategy, layout: Layout, payload: Payload, context: MakeContext) -> Vector:
        """The encoded values; the sum checks that they are finite."""
        check_payload(strategy.pipeline, payload, layout, finite=False)
        return payload.values

    def delta(self, strategy: Strategy, aggregate: Vector, context: RoundContext) -> Vector:
        """The decoded mean."""
        return decode(strategy.pipeline, Payload({"values": aggregate}), context)


@final
@dataclass(frozen=True)
class Each:
    """Each payload is decoded, and its norm is bounded if the strategy says so."""

    shows_metrics: bool = True

    def size(self, strategy: Strategy, layout: Layout) -> int:
        """The number of values that the model has."""
        return layout.dimension

    def fitting(self, strategy: Strategy, clients: int) -> int:
        """The cohort."""
        return clients

    def values(self, strategy: Strategy, layout: Layout, payload: Payload, context: MakeContext) -> Vector:
        """The client's delta."""
        delta, bound = decode(strategy.pipeline, payload, context()), strategy.max_norm
        if bound is not None and not (norm := l2_norm(delta)) <= bound:
            raise PayloadError(f"the norm of its delta is {norm:.4g}; at most {bound:g} is allowed")
        return delta

    def delta(self, strategy: Strategy, aggregate: Vector, context: RoundContext) -> Vector:
        """The aggregate is the delta."""
        return aggregate
