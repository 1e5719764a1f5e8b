"""Which client a node is, and the data that it has."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final, runtime_checkable

from hedgerow import checks, generators
from hedgerow.rng import integer_seed
from hedgerow.spans import span
from hedgerow.types import ClientNames, Samples
from hedgerow.wording import shown


class HoldsNothingOut(ValueError):
    """A client that has no samples to measure models on, though others of its data have."""


class ClientData(Protocol):
    """The data of a federation, by client; a `Federation` is one."""

    @property
    def names(self) -> Sequence[str]:
        """Stable names of all clients."""

    def samples(self, name: str) -> Samples:
        """The training samples of one client."""


@runtime_checkable
class HoldsOut(Protocol):
    """Data of which each client keeps a part to measure models on, and does not train on it."""

    def held_out(self, name: str) -> Samples:
        """The held-out samples of one client."""


def check_data(data: object, name: str, *, or_function: bool = False) -> None:
    """Raises `ValueError`, with the argument's name, where it is no clients' data or what makes them."""
    if or_function and callable(data):
        return
    federation = "a Federation, such as dataset.split(iid(10)), or an object with names and samples(name)"
    checks.has(("names", "samples"), federation, **{name: data})
    names: Any = data.names  # type: ignore[attr-defined]
    if isinstance(names, ClientNames):
        return
    listed = isinstance(names, Sequence) and not isinstance(names, str)
    if not listed or not all(isinstance(each, str) for each in names) or len(set(names)) < len(names):
        raise ValueError(
            f"names of {name} is {shown(names)}; it must be a list of different texts, one a client"
        )


@final
class AlikeEachTime:
    """Data of which a client's are the same wherever and whenever they are loaded, for a simulation.

    What a loader draws from the global generators follows from the client's
    name. They are left seeded: whoever runs clients keeps the caller's.
    """

    def __init__(self, data: ClientData) -> None:
        self._data, self.names = data, data.names

    def samples(self, name: str) -> Samples:
        """The training samples of one client."""
        generators.seed(integer_seed(0, "data", client=name))
        return self._data.samples(name)

    def held_out(self, name: str) -> Samples:
        """The held-out samples of one client."""
        generators.seed(integer_seed(0, "data", client=name))
        return held_out_samples(self._data, name)


@dataclass(frozen=True)
class OneClient:
    """The data of one client alone, as a device has them.

    Attributes:
        name: stable name of the client.
        load: gives its training samples.
    """

    name: str
    load: Callable[[], Samples]

    @property
    def names(self) -> Sequence[str]:
        """The one name."""
        return (self.name,)

    def samples(self, name: str) -> Samples:
        """The samples, whoever is asked for: a device is one client."""
        return self.load()


def client_name(node_config: Mapping[str, Any], names: Sequence[str]) -> str:
    """The stable name of the client that a node is.

    Raises:
        ValueError: the node configuration names no client, or one that is not there.
    """
    if "client-name" in node_config:
        return str(node_config["client-name"])
    if "partition-id" not in node_config:
        raise ValueError(
            f"the node configuration is {dict(node_config)}; it must have client-name (a name) or"
            ' partition-id (a number): start the SuperNode with --node-config "partition-id=0"'
        )
    position = int(node_config["partition-id"])
    if not 0 <= position < len(names):
        raise ValueError(f"partition-id is {position}; it must be from 0 to {len(names) - 1}")
    return names[position]


def holds_out(data: ClientData) -> bool:
    """Whether clients hold samples out, as far as is known without loading any."""
    return isinstance(data, HoldsOut) and bool(getattr(data, "holds_out", True))


def held_out_samples(data: ClientData, name: str) -> Samples:
    """What a client measures models on.

    Raises:
        HoldsNothingOut: the client has too few.
        ValueError: none of these clients holds samples out.
    """
    if not isinstance(data, HoldsOut):
        raise ValueError(
            f"{type(data).__name__} holds no samples out; give it a method held_out(name), or the run"
            " [data] held_out = 0.2"
        )
    with span("data"):
        samples = _are_samples(name, data.held_out(name))
    if len(samples) == 0:
        raise HoldsNothingOut(f"client {name!r} holds no samples out: it has too few")
    return samples


def client_samples(client: str, load: Callable[[], Samples]) -> Samples:
    """What a client trains on.

    Raises:
        ValueError: the client has no samples.
    """
    with span("data"):
        samples = _are_samples(client, load())
    if len(samples) == 0:
        raise ValueError(f"client {client!r} has no samples to train on")
    return samples


def _are_samples(client: str, given: Any) -> Samples:
    if isinstance(given, Samples):
        return given
    checks.has(
        ("x", "y", "__len__"), "Samples, such as Samples(x, y)", **{f"data of client {client!r}": given}
    )
    samples: Samples = given
    return samples
