"""What a client keeps between the stages of a round: secrets, so they print as nothing."""

from dataclasses import dataclass, field
from typing import TypeVar

from hedgerow.secure.codec import decode, encode
from hedgerow.secure.errors import OutOfOrder
from hedgerow.secure.messages import Advert, Digest, Names, Setup, Signature, Survivors


@dataclass(frozen=True)
class Joined:
    """After `keys`: the client has said which keys it has."""

    setup: Setup
    advert: Advert
    mask_secret: bytes = field(repr=False)
    share_secret: bytes = field(repr=False)


@dataclass(frozen=True)
class Shared:
    """After `shares`: the client has chosen its neighbours, and given them its shares."""

    setup: Setup
    advert: Advert
    mask_secret: bytes = field(repr=False)
    share_secret: bytes = field(repr=False)
    seed: bytes = field(repr=False)
    keys: Digest
    neighbours: tuple[Advert, ...]


@dataclass(frozen=True)
class Held:
    """Shares of another client's secrets."""

    owner: str
    self_mask: bytes = field(repr=False)
    mask_key: bytes = field(repr=False)


@dataclass(frozen=True)
class Contributed:
    """After `masked`: the client's own secrets are gone, and it holds those of others."""

    setup: Setup
    name: str
    keys: Digest
    sharers: Names
    neighbours: Names
    held: tuple[Held, ...]


@dataclass(frozen=True)
class Confirmed:
    """After `survivors`: the client has signed one list, and will reveal shares for no other."""

    contributed: Contributed
    survivors: Survivors
    signature: Signature


State = Joined | Shared | Contributed | Confirmed
T = TypeVar("T", Joined, Shared, Contributed, Confirmed)


def pack(state: State) -> bytes:
    """A state as bytes, with its kind."""
    return type(state).__name__.encode() + b" " + encode(state)


def unpack(data: bytes, kind: type[T]) -> T:
    """Undo `pack`; raises `OutOfOrder` where it is of another stage."""
    name, _, rest = data.partition(b" ")
    if name != kind.__name__.encode():
        raise OutOfOrder(f"this client has {name.decode()}; the stage that was asked needs {kind.__name__}")
    return decode(kind, rest)
