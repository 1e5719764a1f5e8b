"""Clients whose data is generated on request."""

from collections.abc import Callable
from dataclasses import dataclass

from hedgerow import checks
from hedgerow.types import ClientNames, Samples


@dataclass(frozen=True)
class Generated:
    """Numbered clients; each one's samples come from a function of its number.

    Attributes:
        names: stable names.
        make: `number -> samples`, always the same for the same number.
    """

    names: ClientNames
    make: Callable[[int], Samples]

    def samples(self, name: str) -> Samples:
        """The training samples of one client; raises `ValueError` if no client has that name."""
        return self.make(self.names.index(name))


@checks.arguments
def from_function(clients: int, samples: Callable[[int], Samples]) -> Generated:
    """Numbered clients, none of which costs anything until it is sampled.

    Args:
        clients: their number; a million start as fast as ten.
        samples: `number -> samples`, with numbers from 0; always the same for the same
            number. In a simulation this includes draws from the global generators, which
            are seeded for each client.

    Raises:
        ValueError: `clients` is not a whole number above 0, or `samples` is not a function.

    >>> import numpy as np
    >>> def samples(number):
    ...     random = np.random.default_rng(number)
    ...     return Samples(random.normal(size=(5, 2)).astype("float32"), random.integers(2, size=5))
    >>> federation = from_function(1_000_000, samples)
    >>> len(federation.names), len(federation.samples("client-123456"))
    (1000000, 5)
    """
    checks.whole(1, clients=clients)
    checks.kind(Callable, " from a client's number to Samples", samples=samples)
    return Generated(ClientNames(int(clients)), samples)
