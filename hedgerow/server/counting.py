"""What is counted of a client's payload: its encoded values, or its decoded delta."""

from dataclasses import dataclass
from typing import Protocol, final

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


class Counting(Protocol):
    """What is counted of a payload, and what the aggregate of that comes to."""

    @property
    def shows_metrics(self) -> bool:
        """Whether clients' metrics are shown."""

    def size(self, strategy: Strategy, layout: Layout) -> int:
        """Values that each client adds."""

    def fitting(self, strategy: Strategy, clients: int) -> int:
        """The number of clients whose sum must fit, in a cohort of `clients`."""

    def values(self, strategy: Strategy, payload: Payload, context: RoundContext) -> Vector:
        """What a client adds; raises `PayloadError` where it cannot be."""

    def delta(self, strategy: Strategy, aggregate: Vector, context: RoundContext) -> Vector:
        """The delta `(d,) float32` of an aggregate of what clients added."""


@final
@dataclass(frozen=True)
class OnSum:
    """Payloads of a summable pipeline are added up as they are, and decoded once."""

    shows_metrics: bool = True

    def size(self, strategy: Strategy, layout: Layout) -> int:
        """The number of values that the pipeline sends."""
        return strategy.pipeline.length(layout.dimension)

    def fitting(self, strategy: Strategy, clients: int) -> int:
        """The cohort."""
        return clients

    def values(self, strategy: Strategy, payload: Payload, context: RoundContext) -> Vector:
        """The encoded values; whether they are finite, the sum looks."""
        check_payload(strategy.pipeline, payload, context, finite=False)
        return payload.values

    def delta(self, strategy: Strategy, aggregate: Vector, context: RoundContext) -> Vector:
        """The decoded mean."""
        return decode(strategy.pipeline, Payload({"values": aggregate}), context)


@final
@dataclass(frozen=True)
class Each:
    """Each payload is decoded, and bounded where the strategy says so."""

    shows_metrics: bool = True

    def size(self, strategy: Strategy, layout: Layout) -> int:
        """The number of values that the model has."""
        return layout.dimension

    def fitting(self, strategy: Strategy, clients: int) -> int:
        """The cohort."""
        return clients

    def values(self, strategy: Strategy, payload: Payload, context: RoundContext) -> Vector:
        """The client's delta."""
        delta, bound = decode(strategy.pipeline, payload, context), strategy.max_norm
        if bound is not None and not (norm := l2_norm(delta)) <= bound:
            raise PayloadError(f"the norm of its delta is {norm:.4g}; at most {bound:g} is allowed")
        return delta

    def delta(self, strategy: Strategy, aggregate: Vector, context: RoundContext) -> Vector:
        """The aggregate is the delta."""
        return aggregate
