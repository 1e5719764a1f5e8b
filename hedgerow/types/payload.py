"""What a client sends, and what a step of the pipeline may know of where."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from hedgerow.types.model import Arrays, Layout

MOST_EXAMPLES = 2**40
"""Samples that a client may say it has trained on; whoever says more is not believed."""


class PayloadError(ValueError):
    """A payload that does not fit what was asked for; its sender is dropped and named."""


@dataclass(frozen=True)
class Payload:
    """What is sent: named arrays, and the weight they count with.

    The array `"values"` is what the next step works on; other arrays are what
    earlier steps need in order to undo themselves.
    """

    arrays: Arrays
    weight: float = 1.0

    @property
    def values(self) -> NDArray[Any]:
        """The array that the next step works on."""
        return self.arrays["values"]

    def replace(self, values: NDArray[Any], **others: NDArray[Any]) -> "Payload":
        """A payload with new values, and with other arrays added."""
        return Payload({**self.arrays, "values": values, **others}, self.weight)


@dataclass(frozen=True)
class RoundContext:
    """What a step of the pipeline may know.

    Attributes:
        seed: seed of the run.
        round: round number, from 1.
        client: stable name of the client whose payload this is; empty while a
            sum over clients is decoded.
        layout: of the model.
        num_examples: samples the client trained on; 0 on the server.
        seeded_noise: noise that clients add follows from the seed: in a
            simulation only.
    """

    seed: int
    round: int
    client: str
    layout: Layout
    num_examples: int = 0
    seeded_noise: bool = False
