"""What a client adds to a masked sum: an update of a model, or what it measures of one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from hedgerow.ring.vector import RingVector, Shape
from hedgerow.wire.messages import TrainRequest


@final
@dataclass(frozen=True)
class Summand:
    """One purpose of the masked stages.

    Attributes:
        purpose: of the rounds, see `secure.messages`.
        shape: of the vector, from the size of the cohort: the client's own, whatever a server says.
        vector: makes the vector, with all that takes; raises `ValueError` where it cannot.
        min_separation: rounds from one of the client's to the next, at least.
    """

    purpose: str
    shape: Callable[[int], Shape]
    vector: Callable[[TrainRequest, Shape], RingVector]
    min_separation: int = 1
