"""One message to a client and its answer: when each part ends, and what it costs."""

from dataclasses import dataclass
from math import inf
from typing import final

from hedgerow.simulation.clock.profiles import Link
from hedgerow.types.costs import Cost


@final
@dataclass(frozen=True)
class Trip:
    """A message that a client receives, works on and answers.

    Attributes:
        start: when it is sent, in seconds since the start of the run; so are all moments here.
        down: its bytes.
        training: seconds of work.
        watts: spent while it works.
        link: to the client.
        lost: when the client is lost, if it has not answered before.
    """

    start: float
    down: int
    training: float
    watts: float
    link: Link
    lost: float = inf

    @property
    def received(self) -> float:
        """When the client has the message."""
        return self.start + self.link.seconds_down(self.down)

    @property
    def trained(self) -> float:
        """When it begins to answer."""
        return self.received + self.training

    def answered(self, up: int) -> float:
        """When an answer of so many bytes has arrived; infinity if the client is lost before."""
        arrives = self.trained + self.link.seconds_up(up)
        return inf if arrives > self.lost else arrives

    def free(self, up: int) -> float:
        """When the client has nothing more to do."""
        return min(self.answered(up), self.lost)

    def cost(self, up: int) -> Cost:
        """What the client spends, with an answer of so many bytes; a lost one spends what it got to.

        >>> trip = Trip(0.0, 1000, 2.0, 5.0, Link(up=8e3, down=8e3, joules_up=0.001))
        >>> trip.answered(500), trip.cost(500).joules
        (3.5, 10.5)
        """
        end = self.free(up)
        down = round(self.down * _part(self.start, self.received, end))
        sent = round(up * _part(self.trained, self.trained + self.link.seconds_up(up), end))
        joules = self.watts * self.training * _part(self.received, self.trained, end)
        return Cost(end - self.start, joules + self.link.joules(down, sent), self.link.cost(down, sent))


def _part(begin: float, finish: float, end: float) -> float:
    """The part of a stretch of time that is over at `end`."""
    if end >= finish:
        return 1.0
    return 0.0 if end <= begin else (end - begin) / (finish - begin)
