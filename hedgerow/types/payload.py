"""What a client sends, and the context of a pipeline step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.types.model import Arrays, Layout
from hedgerow.wording import shown

MOST_EXAMPLES = 2**40
"""Most samples that a client may claim to have trained on."""


class PayloadError(ValueError):
    """A payload does not match the request; its sender is dropped by name."""


@dataclass(frozen=True)
class Payload:
    """The content that is sent: named arrays, and their weight in the mean.

    The next step works on the array `"values"`; other arrays are what earlier steps
    need for decoding.

    Raises:
        PayloadError: `arrays` is not a dict, or the weight is not a number.
    """

    arrays: Arrays
    weight: float = 1.0

    def __post_init__(self) -> None:
        # A round has many payloads: the library's own pass the quick check.
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
    """A single client is the sender."""

    name: str
    is_sum: ClassVar[bool] = False


@dataclass(frozen=True)
class CohortSum:
    """The payload is a sum over the clients of a cohort."""

    name: ClassVar[str] = ""
    is_sum: ClassVar[bool] = True


@dataclass(frozen=True)
class Server:
    """The server is the sender, to every client of a cohort."""

    name: ClassVar[str] = ""
    is_sum: ClassVar[bool] = False


Sender: TypeAlias = Client | CohortSum | Server


@dataclass(frozen=True)
class RoundContext:
    """The context that a step of the pipeline may use.

    Attributes:
        seed: seed of the run.
        round: number of the round of the request, from 1.
        sender: whose payload this is.
        layout: of the model.
        num_examples: number of samples the client trained on; 0 on the server.
        seeded_noise: whether clients' noise is derived from the seed; in a
            simulation only.
        steps: number of local steps that the client took; 0 on the server.
        version: the round that made the model which the client trained; `None`
            is the round before this one.
        staleness: on the server: its steps since that model.
    """

    seed: int
    round: int
    sender: Sender
    layout: Layout
    num_examples: int = 0
    seeded_noise: bool = False
    steps: int = 0
    version: int | None = None
    staleness: int = 0

    @property
    def client(self) -> str:
        """Stable name of the client that sent it; empty if no single client did."""
        return self.sender.name

    @property
    def model_version(self) -> int:
        """The round that made the model which the client trained.

        >>> RoundContext(0, 3, Client("a"), Layout.flat(1)).model_version
        2
        """
        return self.round - 1 if self.version is None else self.version
