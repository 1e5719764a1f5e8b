"""The register: identity keys of enrolled clients, by name."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import final

from hedgerow.ring.secagg import SecureAggregation
from hedgerow.ring.vector import Shape
from hedgerow.secure.errors import Malformed, UnknownIdentity, WrongIdentity
from hedgerow.secure.messages import TRAIN
from hedgerow.secure.primitives import Random, identity_key, weak_identity


@final
class Register:
    """Pinned Ed25519 keys by client name.

    Args:
        pinned: keys from enrolment.
        trust_on_first_use: accept the first key that a client shows, if none
            is pinned. Whoever controls the network can then impersonate a
            client that has not been seen before.
        learned: called with each key that is accepted in this way.
    """

    def __init__(
        self,
        pinned: Mapping[str, bytes],
        *,
        trust_on_first_use: bool = False,
        learned: Callable[[str, bytes], None] = lambda name, key: None,
    ) -> None:
        self._pinned, self._first = pinned, trust_on_first_use
        self._new: dict[str, bytes] = {}
        self._learned = learned

    def require(self, names: Iterable[str]) -> None:
        """Refuse names that are not enrolled: `UnknownIdentity`."""
        if self._first:
            return
        unknown = [name for name in names if name not in self._pinned]
        if unknown:
            raise UnknownIdentity(
                f"{unknown[0]!r} is not enrolled ({len(unknown)} are not); add its key to the register, or"
                " ask for trust_on_first_use"
            )

    def check(self, name: str, key: bytes) -> None:
        """Refuse a key that is not the client's own: `WrongIdentity`, `UnknownIdentity`."""
        known = self._pinned.get(name) or self._new.get(name)
        if known is None:
            self.require([name])
            if weak_identity(key):
                raise WrongIdentity(f"the key of {name!r} is weak: anybody can sign for it")
            self._new[name] = key
            self._learned(name, key)
        elif known != key:
            raise WrongIdentity(
                f"the key of {name!r} is {key.hex()[:16]}..., but it enrolled with {known.hex()[:16]}..."
            )

    def key(self, name: str) -> bytes:
        """The key of a client whose key was checked before; raises `UnknownIdentity`."""
        known = self._pinned.get(name) or self._new.get(name)
        if known is None:
            raise UnknownIdentity(f"{name!r} is not enrolled")
        return known


@dataclass(frozen=True)
class Party:
    """What one client knows and requires, whatever the server says.

    Attributes:
        name: its stable name.
        secret: secret key of its Ed25519 identity, 32 bytes.
        register: keys of the other clients.
        secure: the settings that it requires.
        shape: shape of its own vector, from the size of the cohort.
        random: source of its secrets.
        purpose: purpose of the rounds in which it takes part.
    """

    name: str
    secret: bytes = field(repr=False)
    register: Register
    secure: SecureAggregation
    shape: Callable[[int], Shape]
    random: Random = os.urandom
    purpose: str = TRAIN

    @property
    def identity(self) -> bytes:
        """Its public identity key."""
        return identity_key(self.secret)


def sample(items: list[str], number: int, random: Random) -> list[str]:
    """Draw `number` of the items uniformly at random; returns them sorted."""
    pool = list(items)
    for place in range(number):
        # 16 bytes: the remainder is uniform to 2**-100 for any cohort.
        other = place + int.from_bytes(random(16), "big") % (len(pool) - place)
        pool[place], pool[other] = pool[other], pool[place]
    return sorted(pool[:number])


def parse_register(table: Mapping[str, str]) -> dict[str, bytes]:
    """Parse `{name: 64 hex digits}` as keys, a different one per client; raises `Malformed`."""
    keys: dict[str, bytes] = {}
    owners: dict[bytes, str] = {}
    for name, text in table.items():
        try:
            keys[name] = bytes.fromhex(text)
        except (ValueError, TypeError):
            keys[name] = b""
        if len(keys[name]) != 32:
            raise Malformed(f"the key of {name!r} is {text!r}; it must be 64 hex digits")
        if weak_identity(keys[name]):
            raise Malformed(
                f"the key of {name!r} is {text!r}, for which anybody can sign; no device makes such a key:"
                " run hedgerow enrol on the device"
            )
        if (owner := owners.setdefault(keys[name], name)) != name:
            raise Malformed(f"{owner!r} and {name!r} have the same key; each device must have its own")
    return keys
