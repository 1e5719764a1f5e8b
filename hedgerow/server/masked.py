"""Ring vectors of a cohort, summed: where a simulation adds them up without masks, and after unmasking."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from flwr.app import Message
from numpy.typing import NDArray

from hedgerow import record_sizes, records
from hedgerow.server.replies import NO_REPLY, failure
from hedgerow.spans import span
from hedgerow.strategies.pipeline.coding import decode
from hedgerow.strategies.release import UNIT
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.transforms.mask import RingSum, Shape, read_vector
from hedgerow.types import Layout, Payload, PayloadError, RoundContext, Vector

_LARGEST_SUM = 2.0**26


@dataclass
class MaskedCollected:
    """What has been made of some of a masked round's replies.

    Attributes:
        sum: of the clients that count.
        dropped: `{client: reason}`.
        bytes_up: `{client: bytes}` of the replies that arrived.
        bytes_down: `{client: bytes}` of the messages sent, where they are not all alike.
        counted: clients that count.
        failed: why there is no sum.
    """

    sum: RingSum
    dropped: dict[str, str] = field(default_factory=dict)
    bytes_up: dict[str, int] = field(default_factory=dict)
    bytes_down: dict[str, int] = field(default_factory=dict)
    counted: int = 0
    failed: str = ""

    def merge(self, other: "MaskedCollected") -> None:
        """Add what was made of other replies of the round; in whatever order, the result is the same."""
        self.sum.merge(other.sum)
        self.dropped.update(other.dropped)
        self.bytes_up.update(other.bytes_up)
        self.counted += other.counted

    def means(self) -> Mapping[str, float]:
        """Each metric's mean, weighted by examples; none where the round has failed."""
        return {} if self.failed else self.sum.metrics()

    def mean_buffers(self) -> Vector:
        """The weighted mean of the buffers, `(b,) float32`."""
        return self.sum.buffers()


class MaskedCollector:
    """Counts ring vectors that are sent without masks into `collected`; for a simulation only.

    Args:
        seed: of the run.
        round: number of the round.
        clients: size of the whole cohort.

    Raises:
        ValueError: no ring holds the sum of so many clients.
    """

    def __init__(self, strategy: Strategy, layout: Layout, seed: int, round: int, clients: int) -> None:
        self._strategy = strategy
        self._context = RoundContext(seed, round, "", layout)
        self.shape = Shape.of(strategy.pipeline, layout, max(1, clients))
        self.collected = MaskedCollected(RingSum(self.shape))

    def add(self, client: str, reply: Message | None) -> None:
        """Count a client's vector in, or drop the client by name; `None` is no reply in time."""
        try:
            if reply is None:
                raise PayloadError(NO_REPLY)
            if reply.has_error():
                raise PayloadError(failure(reply.error))
            with span("records"):
                self.collected.bytes_up[client] = record_sizes.measure(reply.content)
                vector = read_vector(records.unpack_vector(reply.content), self.shape)
            with span("aggregate"):
                self.collected.sum.add(vector)
            self.collected.counted += 1
        except PayloadError as error:
            self.collected.dropped[client] = str(error)

    def delta(self) -> Vector:
        """The mean `(d,) float32` of what was counted in."""
        return self._decoded(self.collected.sum.mean())

    def total(self) -> NDArray[np.int64]:
        """The sum `(d,)` of what was counted in, in multiples of 2**-36: of a private strategy, noised.

        Raises:
            OverflowError: it is beyond 2**26.
        """
        total = self._decoded(self.collected.sum.total().astype(np.float64)).astype(np.float64)
        if not np.abs(total).max(initial=0.0) < _LARGEST_SUM:
            raise OverflowError(f"the sum is beyond {_LARGEST_SUM:.3g}; take a smaller clip norm")
        return np.rint(total / UNIT).astype(np.int64)

    def _decoded(self, numbers: NDArray[np.float64]) -> Vector:
        return decode(self._strategy.pipeline, Payload({"values": numbers}), self._context)
