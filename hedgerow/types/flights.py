"""What is on its way in an asynchronous run: which clients were asked, when, and with which model."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hedgerow.types.model import Model


@dataclass(frozen=True)
class Flight:
    """A client that was asked and has not answered.

    Attributes:
        client: its name.
        version: the round that made the model that it was sent.
        at: when it begins with that, in seconds since the start of the run.
        down: bytes that it was sent, where the grid lends clients the model (`server.collect.Lends`).
    """

    client: str
    version: int
    at: float = 0.0
    down: int = 0


@dataclass(frozen=True)
class Flights:
    """Everything on its way after a step of an asynchronous run.

    Attributes:
        asked: number of clients asked since the start of the run, which the next draw depends on.
        flights: in the order in which they were asked.
        models: `{version: model}` of those that they were sent, without constants.
    """

    asked: int = 0
    flights: tuple[Flight, ...] = ()
    models: Mapping[int, Model] = field(default_factory=dict)
