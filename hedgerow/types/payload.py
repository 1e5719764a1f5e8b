"""What a client sends, and what a step of the pipeline may know of where."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.types.model import Arrays, Layout
from hedgerow.wording import shown

MOST_EXAMPLES = 2**40
"""Samples that a client may say it has trained on; whoever says more is not believed."""


class PayloadError(ValueError):
    """A payload that does not fit what was asked for; its sender is dropped and named."""


@dataclass(frozen=True)
class Payload:
    """What is sent: named arrays, and the weight they count with.

    The array `"values"` is what the next step works on; other arrays are what
    earlier steps need in order to undo themselves.

    Raises:
        PayloadError: `arrays` is no dict, or the weight no number.
    """

    arrays: Arrays
    weight: float = 1.0

    def __post_init__(self) -> None:
        # There are many of them in a round: those that the library makes pass the first look.
        if type(self.arrays) is not dict and not isinstance(self.arrays, Mapping):
            raise PayloadError(f"arrays is {shown(self.arrays)}; it must be a dict, such as {{'values': x}}")
        if type(self.weight) is not float and not checks.is_number(self.weight):
            raise PayloadError(f"the weight is {shown(self.weight)}; it must be a number")

    @property
    def values(self) -> NDArray[Any]:
        """The array that the next step works on."""
        return self.arrays["values"]

    def replace(self, values: NDArray[Any], **others: NDArray[Any]) -> "Payload":
        """A payload with new values, and with other arrays added."""
        return Payload({**self.arrays, "values": values, **others}, self.weight)


@dataclass(frozen=True)
class Client:
    """One client sent it."""

    name: str
    is_sum: ClassVar[bool] = False


@dataclass(frozen=True)
class CohortSum:
    """It is a sum over the clients of a cohort."""

    name: ClassVar[str] = ""
    is_sum: ClassVar[bool] = True


@dataclass(frozen=True)
class Server:
    """The server sent it, to every client of a cohort."""

    name: ClassVar[str] = ""
    is_sum: ClassVar[bool] = False


Sender: TypeAlias = Client | CohortSum | Server


@dataclass(frozen=True)
class RoundContext:
    """What a step of the pipeline may know.

    Attributes:
        seed: seed of the run.
        round: number of the round in which this was asked for, from 1.
        sender: whose payload this is.
        layout: of the model.
        num_examples: samples the client trained on; 0 on the server.
        seeded_noise: noise that clients add follows from the seed: in a
            simulation only.
        steps: local steps that the client took; 0 on the server.
        version: rounds done when the model was made that a client trained;
            `None` is the round before this one.
    """

    seed: int
    round: int
    sender: Sender
    layout: Layout
    num_examples: int = 0
    seeded_noise: bool = False
    steps: int = 0
    version: int | None = None

    @property
    def client(self) -> str:
        """Stable name of the client that sent it; empty where no single one did."""
        return self.sender.name

    @property
    def model_version(self) -> int:
        """Rounds done when the model was made that was trained.

        >>> RoundContext(0, 3, Client("a"), Layout.flat(1)).model_version
        2
        """
        return self.round - 1 if self.version is None else self.version
