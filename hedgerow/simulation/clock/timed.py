"""Collects replies where they are made, and counts only those that arrive in time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, final

from flwr.app import Message

from hedgerow import records
from hedgerow.simulation import flower
from hedgerow.simulation.client_runner import Start
from hedgerow.simulation.clock.trip import Trip
from hedgerow.wire.replies import Reply, measure_reply


@final
@dataclass
class Timed:
    """What was collected from some replies of a round.

    Attributes:
        collected: from those that arrived in time.
        sizes: bytes of each reply, late ones included.
    """

    collected: Any
    sizes: dict[str, int] = field(default_factory=dict)

    def merge(self, other: "Timed") -> None:
        """Add what was collected from other replies."""
        self.collected.merge(other.collected)
        self.sizes.update(other.sizes)


@final
@dataclass(frozen=True)
class Timing:
    """A round's trips.

    Attributes:
        round: its number.
        trips: of the clients asked.
        deadline: a reply that arrives later does not count.
        lost_after: seconds after which the server knows that a client is lost.
    """

    round: int
    trips: Mapping[str, Trip]
    deadline: float
    lost_after: float

    def ends(self, client: str, up: int) -> float:
        """When the server has a client's reply of so many bytes, knows that it is lost, or waits no more."""
        trip = self.trips[client]
        return min(self.deadline, trip.answered(up), trip.lost + self.lost_after)

    def received(self, client: str, reply: Any, up: int) -> Any:
        """What the server receives of a reply of so many bytes; `None` for nothing in time."""
        trip = self.trips[client]
        if (arrives := trip.answered(up)) < inf and arrives <= self.deadline:
            return reply
        return flower.lost() if trip.lost + self.lost_after <= self.deadline else None


@final
@dataclass(frozen=True)
class StartTimed:
    """Makes collectors that count only replies in time; equal if what they wrap is."""

    start: Start

    def __call__(self, timing: Timing, *arguments: Any) -> "TimedCollector":
        """A collector for one round."""
        return TimedCollector(self.start(*arguments), timing)


@final
class TimedCollector:
    """A collector of which late replies are kept away."""

    def __init__(self, inner: Any, timing: Timing) -> None:
        self._inner, self._timing = inner, timing
        self.collected = Timed(inner.collected)

    def add(self, client: str, reply: Message | Reply | None) -> None:
        """Add a client's reply, unless it is late."""
        size = _size(reply, self._timing.round, client)
        self.collected.sizes[client] = size
        self._inner.add(client, self._timing.received(client, reply, size))


def _size(reply: Message | Reply | None, round: int, client: str) -> int:
    if isinstance(reply, Reply):
        return measure_reply(reply, round=round, client=client)
    return records.measure(reply.content) if reply is not None and reply.has_content() else 0
