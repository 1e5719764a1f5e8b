"""How a device proves its identity, and knows the others: its own key, and the register of all keys.

A device's enrolment is a folder:

    identity.key     its own secret key, 64 hex digits, readable only by its owner
    register.toml    name = "64 hex digits": the public key of each client, its own too
    NAME/            the client's record of the secure rounds it has answered

Only its owner may be able to write to the folder, or to any folder above it:
others could replace the register, or restore an older record.

`enrol` creates the key and returns its public part; the register is the same file
on every device, and comes with the device's software, never from the server.
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
    """What a client received when it was enrolled.

    Attributes:
        secret: of its Ed25519 identity, 32 bytes.
        pinned: public identity keys of all clients, by name.
        trust_on_first_use: also accept clients that are not pinned, with the key
            they show first. Only for a network that nobody else can tamper with.
        folder: where the client records which secure rounds it has answered, for
            the device's lifetime. `None` keeps the record in memory, for a
            simulation, where one party controls all clients.
    """

    secret: bytes = field(repr=False)
    pinned: Mapping[str, bytes]
    folder: Path | None
    trust_on_first_use: bool = False


def enrol(folder: Path) -> str:
    """Create a device's identity, or keep the existing one; returns the public key, 64 hex digits.

    An existing key is never overwritten. A new folder and key are accessible only
    to their owner.

    Raises:
        OSError: the folder cannot be written.
        Malformed: the existing key cannot be read, or others can read it, or can
            write to the folder.
    """
    if not folder.exists():
        private_folder(folder)
    _refuse_shared(folder)
    return identity_key(secret_key(folder / KEY, _again(folder))).hex()


def secret_key(file: Path, otherwise: str) -> Secret:
    """The Ed25519 secret in a file, which is created if missing, readable only by its owner.

    Args:
        otherwise: what to do if the key is lost, or others may have it; it ends an error's sentence.

    Raises:
        OSError: it cannot be written.
        Malformed: it cannot be read, or others can read it.
    """
    if not file.exists():
        _write_secret(file)
    return _secret(file, otherwise)


def load_enrolment(folder: Path, *, trust_on_first_use: bool = False) -> Enrolment:
    """Read a device's enrolment; without a register it knows no other clients.

    Raises:
        Malformed: a file is missing or cannot be read, or others can read the key
            or write to the register or the folder.
    """
    _refuse_shared(folder)
    secret = _secret(folder / KEY, _again(folder))
    return Enrolment(secret, load_register(folder / REGISTER), folder, trust_on_first_use)


def _again(folder: Path) -> str:
    """What to do about a lost identity."""
    return f"enrol the device anew without it: hedgerow enrol NAME {folder}"


def _refuse_shared(folder: Path) -> None:
    if folder.exists() and (why := who_else_can_write(folder)):
        raise Malformed(why)


def _write_secret(file: Path) -> None:
    """Write a new key to a new file, readable only by its owner; removes the file if that fails."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "w") as out:
        try:
            out.write(os.urandom(32).hex() + "\n")
            out.flush()
            os.fsync(out.fileno())
        except OSError:
            file.unlink()
            raise


def _secret(file: Path, otherwise: str) -> Secret:
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        text = Secret(file.read_bytes())
    except OSError as error:
        raise Malformed(f"{file} cannot be read: {error}; restore it from a copy, or {otherwise}") from error
    if os.name == "posix" and mode & 0o077:
        raise Malformed(
            f"{file} has mode {mode:04o}, so that others on this machine can read it; it must be 0600: run"
            f" chmod 600 {file}, or, if somebody may have read it, {otherwise}"
        )
    secret = _from_hex(text)
    if secret is None or len(set(secret)) < 2:
        raise Malformed(
            f"{file} holds no secret key, which is 64 hex digits, not all equal; restore it from a copy, or"
            f" {otherwise}"
        )
    return secret


def _from_hex(text: Secret) -> Secret | None:
    """The 32 bytes, or `None`; not an exception, because Python's would contain the whole text."""
    digits = Secret(text.strip().lower())
    if len(digits) != 64 or set(digits) - set(b"0123456789abcdef"):
        return None
    return Secret(bytes.fromhex(digits.decode()))


@final
class SimulatedEnrolments(Mapping[str, bytes]):
    """Identities of simulated clients, all derived from one secret; as a mapping, their public keys."""

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
