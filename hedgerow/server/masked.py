"""Ring vectors of a cohort, summed: where a simulation adds them up without masks, and after unmasking."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flwr.app import Message

from hedgerow import records
from hedgerow.server.replies import reason
from hedgerow.spans import span
from hedgerow.strategies.masking import RingSum, Shape, read_vector
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.transform import decode
from hedgerow.types import Layout, Payload, PayloadError, RoundContext, Vector


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
                raise PayloadError("it did not reply in time")
            if reply.has_error():
                raise PayloadError(f"it failed: {reason(reply.error.reason)}")
            with span("records"):
                self.collected.bytes_up[client] = records.measure(reply.content)
                vector = read_vector(records.unpack_vector(reply.content), self.shape)
            with span("aggregate"):
                self.collected.sum.add(vector)
            self.collected.counted += 1
        except PayloadError as error:
            self.collected.dropped[client] = str(error)

    def delta(self) -> Vector:
        """The mean `(d,) float32` of what was counted in."""
        mean = self.collected.sum.mean()
        return decode(self._strategy.pipeline, Payload({"values": mean}), self._context)
