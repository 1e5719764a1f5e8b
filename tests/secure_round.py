"""A whole round between the pure state machines, with everything that travels turned into bytes and back."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from hedgerow.ring.arithmetic import Ring
from hedgerow.ring.secagg import SecureAggregation
from hedgerow.ring.vector import RingSum, RingVector, Shape
from hedgerow.secure import client, errors
from hedgerow.secure.codec import decode, encode
from hedgerow.secure.messages import (
    Advert,
    Adverts,
    Delivery,
    Masked,
    Revealed,
    Setup,
    Shares,
    Signed,
    Survivors,
    Unmask,
)
from hedgerow.secure.primitives import Random, identity_key
from hedgerow.secure.register import Party, Register
from hedgerow.secure.server import SecureRound
from hedgerow.secure.states import Confirmed, Contributed, Joined, Shared

STAGES = ("keys", "shares", "masked", "survivors", "unmask")


def stream(seed: str) -> Random:
    """Bytes that look random and can be had again; never for anything but a test."""
    made: Iterator[bytes] = iter(hashlib.sha256(f"{seed} {i}".encode()).digest() for i in range(10**9))

    def random(length: int) -> bytes:
        data = b"".join(next(made) for _ in range(-(-length // 32)))
        return data[:length]

    return random


@cache
def secret_of(name: str) -> bytes:
    return hashlib.sha256(f"identity of {name}".encode()).digest()


@cache
def identity_of(name: str) -> bytes:
    return identity_key(secret_of(name))


def shape_of(clients: int, bits: int = 16, length: int = 5) -> Shape:
    return Shape(Ring(bits), length, ("loss",), 1, clients)


@dataclass
class Rehearsal:
    """The parties of one round.

    Attributes:
        members: names of the cohort.
        secure: what clients insist on.
        shape: of the vectors.
        seed: of everything that is random.
    """

    members: tuple[str, ...]
    secure: SecureAggregation = field(default_factory=lambda: SecureAggregation(min_clients=4))
    shape: Shape | None = None
    seed: str = "0"
    changed: dict[str, Any] = field(default_factory=dict)
    transcript: list[tuple[str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shape = self.shape or shape_of(len(self.members))
        register = Register({name: identity_of(name) for name in self.members})
        self.parties = {
            name: Party(
                name,
                secret_of(name),
                register,
                self.secure,
                lambda n: self.shape,
                stream(f"{self.seed} {name}"),
            )
            for name in self.members
        }
        plan = self.secure.plan(len(self.members))
        told = {
            "run": "run",
            "round": 3,
            "members": self.members,
            "neighbours": plan.neighbours,
            "threshold": plan.threshold,
            "survivors": plan.survivors,
            "bits": self.shape.ring.bits,
            "length": self.shape.length,
            "words": self.shape.words,
            "model": hashlib.sha256(b"model").digest(),
        }
        self.setup = Setup(**{**told, **self.changed})
        self.server = SecureRound(self.setup, self.shape, register)
        self.joined: dict[str, Joined] = {}
        self.shared: dict[str, Shared] = {}
        self.contributed: dict[str, Contributed] = {}
        self.confirmed: dict[str, Confirmed] = {}
        self.plain: dict[str, RingVector] = {}

    def sent(self, what: str, kind: type, message: Any) -> Any:
        """The message, after it has travelled."""
        data = encode(message)
        self.transcript.append((what, data))
        again = decode(kind, data)
        assert again == message
        return again

    def vector(self, name: str) -> RingVector:
        """What a client adds: anything in the rings."""
        random = np.random.Generator(
            np.random.PCG64(int.from_bytes(stream(f"{self.seed} v {name}")(8), "big"))
        )
        values = random.integers(0, 2**self.shape.ring.bits, self.shape.length, dtype=np.uint64)
        words = random.integers(0, 2**64, self.shape.words, dtype=np.uint64)
        return RingVector(values.astype(self.shape.ring.dtype), words)

    def keys(self, leaving: Callable[[str, str], bool] = lambda stage, name: False) -> None:
        setup = self.sent("setup", Setup, self.setup)
        for name in self.members:
            if not leaving("keys", name):
                advert, self.joined[name] = client.join(self.parties[name], setup)
                self.server.add_advert(name, self.sent(f"advert {name}", Advert, advert))

    def shares(self, leaving: Callable[[str, str], bool] = lambda stage, name: False) -> None:
        adverts = self.sent("adverts", Adverts, self.server.adverts)
        for name, state in self.joined.items():
            if not leaving("shares", name):
                shares, self.shared[name] = client.share(self.parties[name], state, adverts)
                self.server.add_shares(name, self.sent(f"shares {name}", Shares, shares))

    def masked(self, leaving: Callable[[str, str], bool] = lambda stage, name: False) -> None:
        for name in self.server.sharers:
            delivery = self.sent(f"delivery {name}", Delivery, self.server.delivery(name))
            if leaving("masked", name):
                continue
            self.plain[name], vector = self.vector(name), self.vector(name)
            said, vector, self.contributed[name] = client.contribute(
                self.parties[name], self.shared[name], delivery, vector
            )
            assert said.complaints == ()
            packed = self.shape.ring.pack(vector.values).tobytes()
            self.transcript.append((f"vector {name}", packed + vector.words.tobytes()))
            values = self.shape.ring.unpack(np.frombuffer(packed, np.uint8), self.shape.length)
            said = self.sent(f"masked {name}", Masked, said)
            self.server.add_masked(name, said, RingVector(values, vector.words))

    def survivors(self, leaving: Callable[[str, str], bool] = lambda stage, name: False) -> None:
        survivors = self.sent("survivors", Survivors, self.server.survivors)
        for name, state in self.contributed.items():
            if not leaving("survivors", name):
                signed, self.confirmed[name] = client.confirm(self.parties[name], state, survivors)
                self.server.add_signature(name, self.sent(f"signed {name}", Signed, signed))

    def unmask(self, leaving: Callable[[str, str], bool] = lambda stage, name: False) -> None:
        unmask = self.sent("unmask", Unmask, self.server.unmask)
        for name, state in self.confirmed.items():
            if not leaving("unmask", name):
                revealed = client.reveal(self.parties[name], state, unmask)
                self.server.add_revealed(name, self.sent(f"revealed {name}", Revealed, revealed))

    def until(self, stage: str) -> "Rehearsal":
        """Run the stages before this one."""
        for done in STAGES[: STAGES.index(stage)]:
            getattr(self, done)()
        return self

    def run(self, leaving: Callable[[str, str], bool] = lambda stage, name: False) -> RingSum:
        """All stages; raises `Refused` where too few are left."""
        for stage in STAGES:
            getattr(self, stage)(leaving)
        return self.server.unmasked()

    def expected(self) -> RingSum:
        """The sum of what those who have sent a masked vector had to add."""
        total = RingSum(self.shape)
        for vector in self.plain.values():
            total.add(vector)
        self.shape.ring.reduced(total.values)
        return total


def names(count: int) -> tuple[str, ...]:
    return tuple(f"client-{i:03d}" for i in range(count))


def same(one: RingSum, other: RingSum) -> bool:
    return one.values.tobytes() == other.values.tobytes() and one.words.tobytes() == other.words.tobytes()


Script = Callable[[], None]
Scripts = dict[str, tuple[Script, type[errors.Refused]]]


def scripts() -> tuple[Scripts, Callable[[type[errors.Refused]], Callable[[Script], Script]]]:
    """A collection by name, and what puts a script into it with the error that stops it."""
    found: Scripts = {}

    def cheats(error: type[errors.Refused]) -> Callable[[Script], Script]:
        def add(script: Script) -> Script:
            found[script.__name__] = script, error
            return script

        return add

    return found, cheats
