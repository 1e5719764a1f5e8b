"""A message on its way to a simulated client, and its answer."""

from dataclasses import dataclass, replace
from typing import final

from flwr.app import Message

from hedgerow import records
from hedgerow.client.constants import LacksConstants
from hedgerow.client.received import LacksBase, LacksBoth
from hedgerow.simulation.clock.profiles import Link
from hedgerow.simulation.clock.trip import Trip

FREE = Link(up=1.0, down=1.0)
"""The link of what costs nothing, on which nothing is counted."""


_LACKS = tuple(error.__name__ for error in (LacksConstants, LacksBase, LacksBoth))


@final
@dataclass
class OnItsWay:
    """A message on its way: to its client, being worked on, or answered but not yet received.

    Attributes:
        client: its name.
        round: that the message is for; empty for what costs nothing, an evaluation or a query.
        trip: of the message and its answer.
        lacking: whether the client may answer, without training, that it lacks the model's constants.
        reply: the answer, once the client has been run.
        up: its bytes.
    """

    client: str
    round: str
    trip: Trip
    lacking: bool
    reply: Message | None = None
    up: int = 0

    def when(self, lost_after: float) -> float:
        """When the server receives something; before the client has been run, not before this."""
        trip = self.trip
        if self.reply is None:
            return min(trip.received if self.lacking else trip.trained, trip.lost + lost_after)
        return min(trip.answered(self.up), trip.lost + lost_after)

    def answer(self, reply: Message) -> None:
        """Take the client's answer."""
        self.reply = reply
        if self.round and reply.has_content():
            self.up = records.measure(reply.content)
        if self.lacking and reply.has_error() and any(name in (reply.error.reason or "") for name in _LACKS):
            self.trip = replace(self.trip, training=0.0)
