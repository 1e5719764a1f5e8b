"""What a client keeps between the stages of a round; it is secret, so it is never printed."""

from dataclasses import dataclass
from typing import TypeVar

from hedgerow.secure.codec import decode, encode
from hedgerow.secure.errors import BadShare, OutOfOrder
from hedgerow.secure.messages import PROTOCOL, Advert, Digest, Names, Setup, Signature, Survivors
from hedgerow.secure.primitives import Secret, derive, open_sealed, seal


@dataclass(frozen=True)
class Joined:
    """After `keys`: the client has published its keys."""

    setup: Setup
    advert: Advert
    mask_secret: Secret
    share_secret: Secret


@dataclass(frozen=True)
class Shared:
    """After `shares`: the client has chosen its neighbours and sent them its shares."""

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
    """After `masked`: the client's own secrets are gone; it holds shares of the others'."""

    setup: Setup
    name: str
    keys: Digest
    sharers: Names
    neighbours: Names
    held: tuple[Held, ...]


@dataclass(frozen=True)
class Confirmed:
    """After `survivors`: the client has signed one list, and reveals shares for no other."""

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
    """Seal a state: without the identity's secret and the round's salt, the bytes show only its kind.

    Args:
        secret: secret key of the client's identity.
        salt: belongs to this round alone; once it is deleted, the state cannot be read.
    """
    kind = type(state).__name__.encode()
    return kind + b" " + seal(_key(kind, secret, salt), encode(state), kind)


def reopen(data: bytes, kind: type[T], secret: bytes, salt: bytes) -> T:
    """Undo `close`; raises `OutOfOrder` if the state is from another stage or a deleted round."""
    name, _, sealed = data.partition(b" ")
    if name != kind.__name__.encode():
        raise OutOfOrder(
            f"this client's state is {name.decode(errors='replace')}; this stage needs {kind.__name__}"
        )
    try:
        plain = open_sealed(_key(name, secret, salt), sealed, name, "this client")
    except BadShare:
        raise OutOfOrder("the state that this client has kept is from another round") from None
    return decode(kind, plain)


def _key(kind: bytes, secret: bytes, salt: bytes) -> bytes:
    # Each kind has its own key, because a key may seal only once.
    return derive(secret, encode((PROTOCOL, "kept", kind)), salt=salt)
