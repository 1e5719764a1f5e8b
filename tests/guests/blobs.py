"""A data set: clients whose points lie in three heaps, each with more of one of them."""

from dataclasses import dataclass

import numpy as np

from hedgerow.rng import generator
from hedgerow.types import Samples

CENTRES = np.array([[0.0, 2.0], [2.0, -1.0], [-2.0, -1.0]])


@dataclass(frozen=True)
class Blobs:
    """Numbered clients, with 8 to 16 points each."""

    clients: int

    @property
    def names(self) -> tuple[str, ...]:
        """Stable names."""
        return tuple(f"blob-{number}" for number in range(self.clients))

    def samples(self, name: str) -> Samples:
        """A client's points, and which heap each is of."""
        draw, number = generator(0, "blobs", client=name), self.clients
        if name in self.names:
            number = self.names.index(name)
        shares = np.full(3, 0.2)
        shares[number % 3] += 0.4
        y = draw.choice(3, size=8 + number % 9, p=shares)
        return Samples((CENTRES[y] + draw.normal(size=(len(y), 2))).astype(np.float32), y)

    @property
    def test(self) -> Samples:
        """Points of nobody."""
        return self.samples("nobody")


def blobs(clients: int = 6) -> Blobs:
    """Points in three heaps."""
    return Blobs(clients)
