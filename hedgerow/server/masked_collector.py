"""The sum of a cohort's ring vectors, after unmasking or, in a simulation, without masks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from flwr.app import Message
from numpy.typing import NDArray

from hedgerow import records
from hedgerow.ring.secagg import SecureAggregation
from hedgerow.ring.vector import RingSum, RingVector, Shape, read_vector
from hedgerow.server.norm_bound import NormBound, Norms
from hedgerow.server.replies import NO_REPLY, failure, said
from hedgerow.spans import span
from hedgerow.strategies.aggregates.mean import LARGEST_SUM
from hedgerow.strategies.pipeline.coding import decode
from hedgerow.strategies.release import UNIT
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.transforms.mask import shape_of
from hedgerow.types import Arrays, CohortSum, Layout, Payload, PayloadError, RoundContext, Vector
from hedgerow.wire.messages import unpack_vector


@dataclass
class MaskedCollected:
    """What has been collected from some of a masked round's replies.

    Attributes:
        sum: of the clients that count.
        dropped: `{client: reason}`.
        bytes_up: `{client: bytes}` of the replies that arrived.
        bytes_down: `{client: bytes}` of the messages sent, if they are not the same for all.
        counted: number of clients that count.
        failed: why there is no sum.
    """

    sum: RingSum
    dropped: dict[str, str] = field(default_factory=dict)
    bytes_up: dict[str, int] = field(default_factory=dict)
    bytes_down: dict[str, int] = field(default_factory=dict)
    counted: int = 0
    failed: str = ""

    def merge(self, other: "MaskedCollected") -> None:
        """Add what was collected from other replies of the round; the result does not depend on the order."""
        self.sum.merge(other.sum)
        self.dropped.update(other.dropped)
        self.bytes_up.update(other.bytes_up)
        self.counted += other.counted

    def each(self, metric: str) -> dict[str, float]:
        """Nothing: under a mask no client's own values are known."""
        return {}

    def means(self) -> Mapping[str, float]:
        """Each metric's mean, weighted by examples; none if the round has failed."""
        return {} if self.failed else self.sum.metrics()


_SOMEBODY = "some client has sent what no honest client sends; under a mask nobody can tell which"


@final
class SumCollector:
    """Adds vectors that are sent without masks, which only simulated clients do."""

    def __init__(self, shape: Shape) -> None:
        self.shape, self.collected = shape, MaskedCollected(RingSum(shape))

    def add(self, client: str, reply: Message | None) -> None:
        """Add a client's vector, or drop the client by name; `None` if no reply came in time."""
        try:
            if reply is None:
                raise PayloadError(NO_REPLY)
            if reply.has_error():
                raise PayloadError(failure(reply.error))
            with span("records"):
                self.collected.bytes_up[client] = records.measure(reply.content)
                vector = read_vector(unpack_vector(records.from_flower(reply.content)), self.shape)
            with span("aggregate"):
                self.collected.sum.add(vector)
            self.collected.counted += 1
        except PayloadError as error:
            self.collected.dropped[client] = said(str(error))


@final
class MaskedCollector:
    """Holds the sum of ring vectors; in a simulation it counts those in that are sent without masks.

    Args:
        start: of the run.
        round: number of the round.
        clients: size of the whole cohort.

    Raises:
        ValueError: no ring holds the sum of that many clients.
    """

    def __init__(self, start: "StartMasked", round: int, clients: int) -> None:
        self._strategy = start.strategy
        self._context = RoundContext(start.seed, round, CohortSum(), start.layout)
        sums = SumCollector(start.shape(max(1, clients)))
        self.shape, self.collected, self.add = sums.shape, sums.collected, sums.add

    def result(self, state: Arrays) -> tuple[Vector, Arrays]:
        """The mean `(d,) float32` of what was added; a mean keeps no state.

        Raises:
            ValueError: honest clients cannot have this sum.
        """
        self._refuse_impossible()
        return self._decoded(self.collected.sum.mean()), state

    def _refuse_impossible(self) -> None:
        """Refuse a sum that exceeds what its weights allow: the only lie that is visible under a mask."""
        pipeline, found, counted = self._strategy.pipeline, self.collected.sum, self.collected.counted
        most, largest = counted * pipeline.max_weight, pipeline.protection.max_int(0)
        if not counted <= found.weight <= most:
            raise ValueError(
                f"the total weight is {found.weight}, but {counted} honest clients have from {counted} to"
                f" {most:g}: {_SOMEBODY}"
            )
        if len(values := found.total()) and int(np.abs(values).max()) > largest * found.weight:
            raise ValueError(
                f"a value of the sum exceeds {largest} times the total weight, which is impossible for"
                f" honest clients: {_SOMEBODY}"
            )

    def streams(self, state: Arrays) -> tuple[Mapping[str, Vector], Arrays]:
        """The weighted means of the buffers, if the model has any, and of the strategy's own streams."""
        means, found, end = self.collected.sum.streams(), {}, 0
        for stream in self._strategy.all_streams:
            start, end = end, end + stream.size(self._context.layout)
            if end > start:
                found[stream.name] = means[start:end]
        return found, {}

    def bounding(self) -> tuple[NormBound, Norms]:
        """No bound and no norms: the server sees none, and the ring bounds what a client adds."""
        return NormBound(), {}

    def recorded(self) -> tuple[Mapping[str, bytes], Arrays]:
        """The ring sum of what was added; empty if there is none."""
        if self.collected.failed or not self.collected.counted:
            return {}, {}
        found = self.collected.sum
        return {}, {"values": self.shape.ring.reduced(found.values.copy()), "words": found.words}

    def restore(self, arrays: Arrays, counted: int) -> None:
        """Load a recorded sum of `counted` clients.

        Raises:
            PayloadError: it has a different shape.
        """
        if arrays:
            self.collected.sum.add(RingVector(arrays["values"], arrays["words"]))
        self.collected.counted = counted

    def total(self) -> NDArray[np.int64]:
        """The sum `(d,) int64` of what was added, in multiples of 2**-36; noisy for a private strategy.

        It is clipped to 2**26 in absolute value: a round that failed there would reveal more than its sum.
        """
        total = self._decoded(self.collected.sum.total().astype(np.float64)).astype(np.float64)
        return np.rint(np.clip(total, -LARGEST_SUM, LARGEST_SUM) / UNIT).astype(np.int64)

    def _decoded(self, numbers: NDArray[np.float64]) -> Vector:
        return decode(self._strategy.pipeline, Payload({"values": numbers}), self._context)


@final
@dataclass(frozen=True)
class StartMasked:
    """Makes the collectors of rounds of which only the sum is seen."""

    strategy: Strategy
    layout: Layout
    seed: int

    @property
    def secure(self) -> SecureAggregation:
        """The settings that clients require."""
        found = self.strategy.pipeline.protection.secure
        assert found is not None
        return found

    def shape(self, clients: int) -> Shape:
        """What each of a cohort adds."""
        strategy, layout = self.strategy, self.layout
        return shape_of(strategy.pipeline, layout, clients, strategy.sent_beside(layout))

    def __call__(self, round: int, clients: int, *bounds: Any) -> MaskedCollector:
        """A collector for one round of a cohort of `clients` clients."""
        return MaskedCollector(self, round, clients)
