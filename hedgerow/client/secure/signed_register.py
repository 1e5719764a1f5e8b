"""A register that its administrator has signed: who holds the key decides who is who.

    # hedgerow register, version 3, federation 0123456789abcdef
    kitchen = "9f2c... 64 hex digits"
    # signed by 64 hex digits: 128 hex digits

The signature is Ed25519's, over all bytes before the last line. Both lines are
comments, so that whoever reads `register.toml` reads a signed one too. The
version counts up, so that an older register cannot be put in its place.

An administrator hands over to another key by a line, which all later versions keep:

    # administrator 64 hex digits, appointed by 64 hex digits: 128 hex digits
"""

import hashlib
import re
import tomllib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from hedgerow.secure.errors import Malformed
from hedgerow.secure.primitives import Secret, identity_key, weak_identity
from hedgerow.secure.register import parse_register

_HEAD = re.compile(r"# hedgerow register, version (\d{1,9}), federation ([0-9a-f]{16})\n")
_LAST = re.compile(r"# signed by ([0-9a-f]{64}): ([0-9a-f]{128})\n?\Z")
_SIGNED = re.compile(r"^# signed by .*\n?", re.MULTILINE)
_APPOINTED = re.compile(
    r"^# administrator ([0-9a-f]{64}), appointed by ([0-9a-f]{64}): ([0-9a-f]{128})$", re.MULTILINE
)
_CONTEXT = b"hedgerow register 1\n"
_APPOINTS = b"hedgerow administrator 1\n"


@dataclass(frozen=True)
class Signature:
    """What a signed register says of itself.

    Attributes:
        version: counts up.
        federation: that it is of, 16 hex digits.
        administrator: public key, 64 hex digits.
    """

    version: int
    federation: str
    administrator: str


def sign(text: str, secret: Secret, *, version: int, federation: str) -> str:
    """The text of a register, signed; a signature and a head that are there give way.

    Raises:
        Malformed: it is no register.

    >>> key = Secret(bytes(range(32)))
    >>> signed = sign(f'kitchen = "{"9f" * 32}"', key, version=1, federation="0" * 16)
    >>> verify(signed, identity_key(key).hex()).version
    1
    """
    # Lines that were added after a signature stand below it.
    body = _SIGNED.sub("", _HEAD.sub("", text, count=1)).strip("\n")
    _check(body)
    whole = f"{head(version, federation)}{body}\n"
    signature = Ed25519PrivateKey.from_private_bytes(secret).sign(_digest(whole))
    return f"{whole}# signed by {identity_key(secret).hex()}: {signature.hex()}\n"


def head(version: int, federation: str) -> str:
    """The first line of a register; version 0 is of one that nobody has signed."""
    return f"# hedgerow register, version {version}, federation {federation}\n"


def sign_next(text: str, secret: Secret) -> str:
    """A register as a coordinator gives it, or signed before, signed as the version after that; as `sign`."""
    found = _HEAD.match(text)
    if found is None:
        raise Malformed(
            "its first line names no federation; take the coordinator's own: register.toml in its folder"
        )
    return sign(text, secret, version=int(found[1]) + 1, federation=found[2])


def appoint(text: str, old: Secret, new: Secret) -> str:
    """A register in which the administrator hands over to another key; it must then be signed with that one.

    Raises:
        Malformed: it is no register of a federation.
    """
    found = _HEAD.match(text)
    if found is None:
        raise Malformed("its first line names no federation; take the coordinator's own")
    key = identity_key(new)
    said = Ed25519PrivateKey.from_private_bytes(old).sign(_appointing(found[2], key))
    line = f"# administrator {key.hex()}, appointed by {identity_key(old).hex()}: {said.hex()}\n"
    return text[: found.end()] + line + text[found.end() :]


def _appointing(federation: str, key: bytes) -> bytes:
    return _APPOINTS + bytes.fromhex(federation) + key


def _follows(text: str, federation: str, known: str, signer: str) -> bool:
    """Whether the signer is the administrator that is known, or was appointed by it, also over several."""
    trusted = {known}
    for new, old, said in reversed(_APPOINTED.findall(text)):  # the latest stands first
        try:
            message = _appointing(federation, bytes.fromhex(new))
            if old in trusted and not weak_identity(bytes.fromhex(old)):
                Ed25519PublicKey.from_public_bytes(bytes.fromhex(old)).verify(bytes.fromhex(said), message)
                trusted.add(new)
        except (InvalidSignature, ValueError):
            continue
    return signer in trusted


def read_signature(text: str) -> Signature:
    """What it says of itself, not verified; raises `Malformed` where nobody has signed it."""
    first, last = _HEAD.match(text), _LAST.search(text)
    if first is None or last is None:
        raise Malformed("nobody has signed it; run hedgerow register sign where the administrator's key lies")
    return Signature(int(first[1]), first[2], last[1])


def verify(text: str, administrator: str | None) -> Signature:
    """Check a signed register, by the key that is known, or by the one that it names where none is known yet.

    Whoever the known administrator has appointed counts too, and is named in what is returned.

    Raises:
        Malformed: it is not signed, or by another key, or was changed since, or is no register.
    """
    found, last = read_signature(text), _LAST.search(text)
    assert last is not None
    if administrator is not None and not _follows(text, found.federation, administrator, found.administrator):
        raise Malformed(
            f"it is signed by {found.administrator[:16]}..., and the administrator is {administrator[:16]}..."
        )
    key = bytes.fromhex(found.administrator)
    try:
        if weak_identity(key):
            raise InvalidSignature
        signed = text[: last.start()]
        Ed25519PublicKey.from_public_bytes(key).verify(bytes.fromhex(last[2]), _digest(signed))
    except (InvalidSignature, ValueError) as error:
        raise Malformed("its signature does not hold: it was changed since it was signed") from error
    _check(text)
    return found


def _digest(text: str) -> bytes:
    return _CONTEXT + hashlib.sha256(text.encode()).digest()


def _check(text: str) -> None:
    try:
        parse_register(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise Malformed(f"it is no register: {error}") from error
