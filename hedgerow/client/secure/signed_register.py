"""A register that its administrator has signed: whoever holds that key decides who is enrolled.

    # hedgerow register, version 3, federation 0123456789abcdef
    kitchen = "9f2c... 64 hex digits"
    # signed by 64 hex digits: 128 hex digits

The signature is an Ed25519 signature over all bytes before the last line. Both lines
are comments, so code that reads `register.toml` also reads a signed one. The version
increases, so that an older register cannot replace a newer one.

An administrator hands over to another key with a line that all later versions keep:

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
    """The version, federation and signer that a signed register states.

    Attributes:
        version: increases with each signed register.
        federation: its id, 16 hex digits.
        administrator: public key, 64 hex digits.
    """

    version: int
    federation: str
    administrator: str


def sign(text: str, secret: Secret, *, version: int, federation: str) -> str:
    """Sign the text of a register; replaces an existing first line and signature.

    Raises:
        Malformed: it is not a register.

    >>> key = Secret(bytes(range(32)))
    >>> signed = sign(f'kitchen = "{"9f" * 32}"', key, version=1, federation="0" * 16)
    >>> verify(signed, identity_key(key).hex()).version
    1
    """
    # The old signature may not be the last line, if lines were added below it.
    body = _SIGNED.sub("", _HEAD.sub("", text, count=1)).strip("\n")
    _check(body)
    whole = f"{head(version, federation)}{body}\n"
    signature = Ed25519PrivateKey.from_private_bytes(secret).sign(_digest(whole))
    return f"{whole}# signed by {identity_key(secret).hex()}: {signature.hex()}\n"


def head(version: int, federation: str) -> str:
    """The first line of a register; version 0 means unsigned."""
    return f"# hedgerow register, version {version}, federation {federation}\n"


def sign_next(text: str, secret: Secret) -> str:
    """Sign a coordinator's or an already signed register as its next version; raises as `sign` does."""
    found = _HEAD.match(text)
    if found is None:
        raise Malformed(
            "its first line names no federation; take the coordinator's own: register.toml in its folder"
        )
    return sign(text, secret, version=int(found[1]) + 1, federation=found[2])


def appoint(text: str, old: Secret, new: Secret) -> str:
    """Add a line that hands over to another key; the register must then be signed with that key.

    Raises:
        Malformed: it is not a federation's register.
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
    """Whether the signer is the known administrator, or was appointed by it, directly or through others."""
    trusted = {known}
    for new, old, said in reversed(_APPOINTED.findall(text)):  # the latest is first
        try:
            message = _appointing(federation, bytes.fromhex(new))
            if old in trusted and not weak_identity(bytes.fromhex(old)):
                Ed25519PublicKey.from_public_bytes(bytes.fromhex(old)).verify(bytes.fromhex(said), message)
                trusted.add(new)
        except (InvalidSignature, ValueError):
            continue
    return signer in trusted


def read_signature(text: str) -> Signature:
    """What the register states, not verified; raises `Malformed` if it is unsigned."""
    first, last = _HEAD.match(text), _LAST.search(text)
    if first is None or last is None:
        raise Malformed("it is not signed; run hedgerow register sign where the administrator's key is")
    return Signature(int(first[1]), first[2], last[1])


def verify(text: str, administrator: str | None) -> Signature:
    """Check a signed register against the known key, or against the key it names if none is known yet.

    A key that the known administrator has appointed is accepted too; the result names the signer.

    Raises:
        Malformed: it is unsigned, signed by another key, changed since, or not a register.
    """
    found, last = read_signature(text), _LAST.search(text)
    assert last is not None
    if administrator is not None and not _follows(text, found.federation, administrator, found.administrator):
        raise Malformed(
            f"it is signed by {found.administrator[:16]}..., but the administrator is {administrator[:16]}..."
        )
    key = bytes.fromhex(found.administrator)
    try:
        if weak_identity(key):
            raise InvalidSignature
        signed = text[: last.start()]
        Ed25519PublicKey.from_public_bytes(key).verify(bytes.fromhex(last[2]), _digest(signed))
    except (InvalidSignature, ValueError) as error:
        raise Malformed("its signature is invalid: it was changed after it was signed") from error
    _check(text)
    return found


def _digest(text: str) -> bytes:
    return _CONTEXT + hashlib.sha256(text.encode()).digest()


def _check(text: str) -> None:
    try:
        parse_register(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise Malformed(f"it is not a register: {error}") from error
