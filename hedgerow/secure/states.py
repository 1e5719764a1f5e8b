"""What a client keeps between the stages of a round: secrets, so they print as nothing."""

from dataclasses import dataclass
from typing import TypeVar

from hedgerow.secure.codec import decode, encode
from hedgerow.secure.errors import BadShare, OutOfOrder
from hedgerow.secure.messages import PROTOCOL, Advert, Digest, Names, Setup, Signature, Survivors
from hedgerow.secure.primitives import Secret, derive, open_sealed, seal


@dataclass(frozen=True)
class Joined:
    """After `keys`: the client has said which keys it has."""

    setup: Setup
    advert: Advert
    mask_secret: Secret
    share_secret: Secret


@dataclass(frozen=True)
class Shared:
    """After `shares`: the client has chosen its neighbours, and given them its shares."""

    setup: Setup
    advert: Advert
    mask_secret: Secret
    share_secret: Secret
    seed: Secret
    keys: Digest
    neighbours: tuple[Advert, ...]


@dataclass(frozen=True)
class Held:
    """Shares of another client's secrets."""

    owner: str
    self_mask: Secret
    mask_key: Secret


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

    @property
    def setup(self) -> Setup:
        """Of the round."""
        return self.contributed.setup


State = Joined | Shared | Contributed | Confirmed
T = TypeVar("T", Joined, Shared, Contributed, Confirmed)


def close(state: State, secret: bytes, salt: bytes) -> bytes:
    """A state as bytes that tell nothing but its kind, without the identity and the salt of the round.

    Args:
        secret: of the client's identity.
        salt: of this round alone; where it is forgotten, so is the state.
    """
    kind = type(state).__name__.encode()
    return kind + b" " + seal(_key(kind, secret, salt), encode(state), kind)


def reopen(data: bytes, kind: type[T], secret: bytes, salt: bytes) -> T:
    """Undo `close`; raises `OutOfOrder` where it is of another stage, or of a round that is forgotten."""
    name, _, sealed = data.partition(b" ")
    if name != kind.__name__.encode():
        raise OutOfOrder(
            f"this client has {name.decode(errors='replace')}; the stage that was asked needs {kind.__name__}"
        )
    try:
        plain = open_sealed(_key(name, secret, salt), sealed, name, "this client")
    except BadShare:
        raise OutOfOrder("what this client has kept is of another round") from None
    return decode(kind, plain)


def _key(kind: bytes, secret: bytes, salt: bytes) -> bytes:
    # Each kind has its own, since a key seals once.
    return derive(secret, encode((PROTOCOL, "kept", kind)), salt=salt)
