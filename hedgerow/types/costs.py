"""What a round costs on described devices and links: simulated seconds, joules and money."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cost:
    """What one client spends.

    Attributes:
        seconds: from the moment it is asked to the moment its reply arrives, or it is given up.
        joules: of training, sending and receiving.
        price: of the bytes both ways, in the currency of the link's profile.

    >>> Cost(2.0, 1.0, 0.5) + Cost(1.0, 1.0)
    Cost(seconds=3.0, joules=2.0, price=0.5)
    """

    seconds: float = 0.0
    joules: float = 0.0
    price: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.seconds + other.seconds, self.joules + other.joules, self.price + other.price)


@dataclass(frozen=True)
class Spent:
    """What a round cost.

    Attributes:
        seconds: of the round, waiting for clients to be available included.
        elapsed: seconds from the start of the run to the end of the round.
        clients: what each client that was asked has spent.
    """

    seconds: float
    elapsed: float
    clients: Mapping[str, Cost] = field(default_factory=dict)

    @property
    def joules(self) -> float:
        """Of all clients together."""
        return _sum({name: cost.joules for name, cost in self.clients.items()})

    @property
    def price(self) -> float:
        """Of all clients together."""
        return _sum({name: cost.price for name, cost in self.clients.items()})


def _sum(figures: Mapping[str, float]) -> float:
    # Sorted, so that the order in which replies were handled does not affect the last bit.
    return sum([figures[name] for name in sorted(figures)])
