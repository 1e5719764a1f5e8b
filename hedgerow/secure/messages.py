"""The messages between server and clients in a secure aggregation round.

| stage | server to client | client to server |
|---|---|---|
| keys | `Setup` | `Advert` |
| shares | `Adverts` | `Shares` |
| masked | `Delivery`, and the model | `Masked`, and the masked vector |
| survivors | `Survivors` | `Signed` |
| unmask | `Unmask` | `Revealed` |

Every name is a client's stable name; every list of names is sorted. A round has one purpose, which is the
kind of its messages (`train.keys`) and stands in the name that its run has here, and so in all that is
signed, sealed and derived: nothing of a round fits one of another purpose.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, TypeAlias

from hedgerow.secure.codec import encode
from hedgerow.secure.primitives import Secret, digest

PROTOCOL = "hedgerow secure aggregation 1"

TRAIN, EVALUATE = "train", "evaluate"
"""What is summed: updates; or what clients measure of a model on the samples that they hold out."""

Key: TypeAlias = Annotated[bytes, 32]
Digest: TypeAlias = Annotated[bytes, 32]
Signature: TypeAlias = Annotated[bytes, 64]
Names: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class Setup:
    """A round, as the server announces it.

    Attributes:
        run: a string that identifies the run uniquely, see `name_of`.
        round: number of the round, from 1.
        members: the cohort.
        neighbours, threshold, survivors: see `SecAggPlan`.
        bits, length, words: of the vectors, see `Shape`.
        model: hash of the model and of everything else that training depends on.
    """

    run: str
    round: int
    members: Names
    neighbours: int
    threshold: int
    survivors: int
    bits: int
    length: int
    words: int
    model: Digest

    @property
    def purpose(self) -> str:
        """What is summed: `TRAIN` or `EVALUATE`."""
        return EVALUATE if self.run.endswith(name_of("", EVALUATE)) else TRAIN

    @cached_property
    def session(self) -> bytes:
        """Digest of all of the above, to which the keys of a round are bound."""
        return digest(encode((PROTOCOL, "setup", encode(self))))


@dataclass(frozen=True)
class Advert:
    """A client's keys of one round, signed by its identity."""

    name: str
    identity: Key
    mask_key: Key
    share_key: Key
    signature: Signature

    def signed(self, session: bytes) -> bytes:
        """The bytes that are signed."""
        return encode((PROTOCOL, "keys", session, self.name, self.mask_key, self.share_key))


@dataclass(frozen=True)
class Adverts:
    """The keys of all clients that have joined."""

    session: Digest
    adverts: tuple[Advert, ...]

    @cached_property
    def keys(self) -> bytes:
        """Digest of the session and everybody's keys, to which all later stages are bound."""
        return digest(encode((PROTOCOL, "adverts", encode(self))))


@dataclass(frozen=True)
class Commitments:
    """Hashes of two shares."""

    self_mask: Digest
    mask_key: Digest


@dataclass(frozen=True)
class Box:
    """Two shares, sealed for one neighbour, and the commitments to them."""

    recipient: str
    sealed: bytes
    committed: Commitments


@dataclass(frozen=True)
class Shares:
    """A client's shares for its neighbours.

    Attributes:
        self_mask: hash of the seed of its own mask.
    """

    keys: Digest
    self_mask: Digest
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Opened:
    """The content of a box; names and place bind it to this box."""

    sender: str
    recipient: str
    place: int
    self_mask: Secret
    mask_key: Secret


@dataclass(frozen=True)
class Received:
    """A box and the keys of its sender."""

    sender: Advert
    box: Box


@dataclass(frozen=True)
class Delivery:
    """What a client receives before it masks: who has shared, and the shares meant for it."""

    keys: Digest
    sharers: Names
    received: tuple[Received, ...]


@dataclass(frozen=True)
class Masked:
    """What a client sends along with its masked vector.

    Attributes:
        complaints: senders whose boxes do not match their commitments.
    """

    keys: Digest
    complaints: Names


@dataclass(frozen=True)
class Survivors:
    """Which clients have sent a masked vector, and which have shared but not sent one."""

    keys: Digest
    alive: Names
    dead: Names

    def signed(self) -> bytes:
        """The bytes that survivors sign."""
        return encode((PROTOCOL, "survivors", encode(self)))


@dataclass(frozen=True)
class Signed:
    """A survivor's signature of the list."""

    keys: Digest
    signature: Signature


@dataclass(frozen=True)
class Signer:
    """A survivor and its signature."""

    name: str
    signature: Signature


@dataclass(frozen=True)
class Unmask:
    """The list of survivors, with enough signatures that no other list can have as many."""

    survivors: Survivors
    signers: tuple[Signer, ...]


@dataclass(frozen=True)
class Share:
    """A share of somebody's self mask (of a survivor) or mask key (of a dead client)."""

    owner: str
    of_dead: int
    value: bytes


@dataclass(frozen=True)
class Revealed:
    """The shares that a client holds, one for each client that gave it some."""

    keys: Digest
    shares: tuple[Share, ...]


def name_of(run: str, purpose: str) -> str:
    """The name that a run has in rounds of a purpose.

    >>> name_of("5eed", TRAIN), name_of("5eed", EVALUATE)
    ('5eed', '5eed evaluate')
    """
    return run if purpose == TRAIN else f"{run} {purpose}"


def commitment(keys: bytes, owner: str, recipient: str, what: str, share: bytes) -> bytes:
    """Hash of a share; as shares are random, it reveals nothing about them."""
    return digest(encode((PROTOCOL, "share", keys, owner, recipient, what, share)))


def seed_commitment(keys: bytes, owner: str, seed: bytes) -> bytes:
    """Hash of the seed of a self mask."""
    return digest(encode((PROTOCOL, "self mask", keys, owner, seed)))
