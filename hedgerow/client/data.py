"""Which client a node is, and the data that it has."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, final, runtime_checkable

from hedgerow import checks, generators
from hedgerow.rng import integer_seed
from hedgerow.spans import span
from hedgerow.types import ClientNames, Samples
from hedgerow.wording import shown


class HoldsNothingOut(ValueError):
    """A client that has no samples to measure models on, though others of its data have."""


class ClientData(Protocol):
    """The data of a federation, by client; a `Federation` is one.

    It may declare `draws = False`: loading draws nothing from the global generators, so that a simulation
    need not seed them for each client.
    """

    @property
    def names(self) -> Sequence[str]:
        """Stable names of all clients."""

    def samples(self, name: str) -> Samples:
        """The training samples of one client."""


@runtime_checkable
class HoldsOut(Protocol):
    """Data of which each client holds a part out, to evaluate models on and never to train on."""

    def held_out(self, name: str) -> Samples:
        """The held-out samples of one client."""


def check_data(data: object, name: str, *, or_function: bool = False) -> None:
    """Raise `ValueError`, naming the argument, unless it is clients' data (or a function that makes it)."""
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
            f"names of {name} is {shown(names)}; it must be a list of distinct strings, one for each client"
        )


@final
class AlikeEachTime:
    """Data that is the same for a client wherever and whenever it is loaded, for a simulation.

    Each load seeds the global generators from the client's name and leaves them
    seeded; whoever runs the clients restores the caller's state. Data that declares
    `draws = False` is loaded without that. Of its loads, of training samples and of
    held-out ones, the first, second, fourth, eighth and so on are watched: do they draw?

    Raises:
        ValueError: when loading: data that declares this has drawn.
    """

    def __init__(self, data: ClientData) -> None:
        self._data, self.names = data, data.names
        self._draws = bool(getattr(data, "draws", True))
        self._of_samples, self._of_held_out = _Loads(), _Loads()
        self._caught = ""

    def samples(self, name: str) -> Samples:
        """The training samples of one client."""
        if self._draws:
            generators.seed(integer_seed(0, "data", client=name))
            return self._data.samples(name)
        loads = self._of_samples
        loads.number += 1
        if loads.number != loads.watched and not self._caught:
            return self._data.samples(name)
        return self._watched(loads, self._data.samples, name)

    def held_out(self, name: str) -> Samples:
        """The held-out samples of one client."""
        if self._draws:
            generators.seed(integer_seed(0, "data", client=name))
            return held_out_samples(self._data, name)
        loads = self._of_held_out
        loads.number += 1
        if loads.number != loads.watched and not self._caught:
            return held_out_samples(self._data, name)
        return self._watched(loads, partial(held_out_samples, self._data), name)

    def _watched(self, loads: "_Loads", load: Callable[[str], Samples], name: str) -> Samples:
        loads.watched = 2 * loads.number
        generators.mark()
        found = load(name)
        if generators.drawn():
            self._caught = name
        if self._caught:
            raise ValueError(
                f"{type(self._data).__name__} declares draws = False, and loading client {self._caught!r}"
                " draws from a global generator (numpy's, Python's random or torch's); leave draws out, and"
                " it is seeded"
            )
        return found


@dataclass
class _Loads:
    """How often a part was loaded, and the load that is watched next."""

    number: int = 0
    watched: int = 1


@dataclass(frozen=True)
class OneClient:
    """The data of a single client, as on a device.

    Attributes:
        name: stable name of the client.
        load: returns its training samples.
    """

    name: str
    load: Callable[[], Samples]

    @property
    def names(self) -> Sequence[str]:
        """The one name."""
        return (self.name,)

    def samples(self, name: str) -> Samples:
        """The samples, whatever the name: a device is a single client."""
        return self.load()


def client_name(node_config: Mapping[str, Any], names: Sequence[str]) -> str:
    """The stable name of the client at a node.

    Raises:
        ValueError: the node configuration names no client, or one that does not exist.
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
    """Whether clients hold samples out, as far as can be told without loading any."""
    return isinstance(data, HoldsOut) and bool(getattr(data, "holds_out", True))


def held_out_samples(data: ClientData, name: str) -> Samples:
    """The samples that a client evaluates models on.

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
    """The samples that a client trains on.

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
