"""How a device proves who it is, and knows the others: its identity key, and the register of all keys.

A device's enrolment is a folder:

    identity.key     its own secret key, 64 hex digits, readable by its owner only
    register.toml    name = "64 hex digits": the public key of each client, its own too
    NAME/            what the client remembers: which secure rounds it has answered

Nobody but its owner may be able to write to the folder, or to one above it:
whoever can puts another register, or an older memory, in their place.

`enrol` makes the first and gives the public key; the second is the same file on
every device, and comes with the device's software, never from the server.
`hedgerow enrol` and `hedgerow register` do both from the command line.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from hedgerow.client.secure.register_file import load_register
from hedgerow.files import PRIVATE, private_folder, who_else_can_write
from hedgerow.secure.errors import Malformed
from hedgerow.secure.primitives import Secret, derive, identity_key

KEY, REGISTER = "identity.key", "register.toml"


@dataclass(frozen=True)
class Enrolment:
    """What a client was given when it was enrolled.

    Attributes:
        secret: of its Ed25519 identity, 32 bytes.
        pinned: public identity keys of all clients, by name.
        trust_on_first_use: also take clients that are not pinned, with the key
            they show first. Only for a network that nobody else can change.
        folder: where the client remembers which secure rounds it has answered,
            for as long as the device lives. `None` keeps it in memory: for a
            simulation, where all clients are in one hand.
    """

    secret: bytes = field(repr=False)
    pinned: Mapping[str, bytes]
    folder: Path | None
    trust_on_first_use: bool = False


def enrol(folder: Path) -> str:
    """Make a device's identity, or keep the one that is there; returns the public key, 64 hex digits.

    A key that is there is never written to. The folder, where it is made, and
    the key are for their owner only.

    Raises:
        OSError: the folder cannot be written.
        Malformed: the key that is there cannot be read, or others can read it,
            or can write to the folder.
    """
    if not folder.exists():
        private_folder(folder)
    _refuse_shared(folder)
    return identity_key(secret_key(folder / KEY)).hex()


def secret_key(file: Path) -> Secret:
    """The Ed25519 secret in a file, which is made where it is missing, readable by its owner only.

    Raises:
        OSError: it cannot be written.
        Malformed: it cannot be read, or others can read it.
    """
    if not file.exists():
        _write_secret(file)
    return _secret(file)


def load_enrolment(folder: Path, *, trust_on_first_use: bool = False) -> Enrolment:
    """Read a device's enrolment; without a register it knows nobody.

    Raises:
        Malformed: a file is missing or cannot be read, or others can read the
            key, or write to the register or the folder.
    """
    _refuse_shared(folder)
    return Enrolment(_secret(folder / KEY), load_register(folder / REGISTER), folder, trust_on_first_use)


def _refuse_shared(folder: Path) -> None:
    if folder.exists() and (why := who_else_can_write(folder)):
        raise Malformed(why)


def _write_secret(file: Path) -> None:
    """A new key in a new file, for its owner only; no file where it cannot be written."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "w") as out:
        try:
            out.write(os.urandom(32).hex() + "\n")
            out.flush()
            os.fsync(out.fileno())
        except OSError:
            file.unlink()
            raise


def _secret(file: Path) -> Secret:
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        text = Secret(file.read_bytes())
    except OSError as error:
        raise Malformed(
            f"{file} cannot be read: {error}; make it with: hedgerow enrol NAME {file.parent}"
        ) from error
    if os.name == "posix" and mode & 0o077:
        raise Malformed(
            f"{file} has mode {mode:04o}, so that others on this device can read it; it must be 0600: run"
            f" chmod 600 {file}, or, if somebody may have read it, remove it and enrol the device anew"
        )
    secret = _from_hex(text)
    if secret is None or len(set(secret)) < 2:
        raise Malformed(
            f"{file} holds no secret key, which is 64 hex digits that differ; restore it from a copy, or"
            " remove it and enrol the device anew"
        )
    return secret


def _from_hex(text: Secret) -> Secret | None:
    """32 bytes; no error, since Python's has the whole text in it."""
    digits = Secret(text.strip().lower())
    if len(digits) != 64 or set(digits) - set(b"0123456789abcdef"):
        return None
    return Secret(bytes.fromhex(digits.decode()))


@final
class SimulatedEnrolments(Mapping[str, bytes]):
    """Identities of clients that are all simulated from one secret; as a mapping, their public keys."""

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._known: dict[str, bytes] = {}

    def enrolment(self, context: object, name: str) -> Enrolment:
        """A client's enrolment."""
        return Enrolment(self._secret(name), self, None)

    def _secret(self, name: str) -> Secret:
        return derive(self._root, b"simulated identity " + name.encode(), 32)

    def __getitem__(self, name: str) -> bytes:
        if name not in self._known:
            self._known[name] = identity_key(self._secret(name))
        return self._known[name]

    def get(self, name: str, default: Any = None) -> bytes:
        """The key of a client; every name has one."""
        return self[name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str)

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)
