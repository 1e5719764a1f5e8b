"""The cryptographic primitives of secure aggregation, all from the `cryptography` package."""

from collections.abc import Callable
from typing import Any, TypeAlias, final

import numpy as np
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from hedgerow.secure.errors import BadShare, BadSignature, KeysChanged

Random: TypeAlias = Callable[[int], bytes]
"""`os.urandom`, or a reproducible replacement in tests."""

_BLOCK = 16

_PRIME = 2**255 - 19
_EIGHTH = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_LOW_ORDER = {0, 1, _PRIME - 1, _EIGHTH, _PRIME - _EIGHTH}
"""`y` of the eight points of edwards25519 whose order divides 8."""


@final
class Secret(bytes):
    """Bytes that print only their length, in logs and in tracebacks that show variables.

    >>> Secret(b"key")
    Secret(3 bytes)
    """

    def __repr__(self) -> str:
        return f"Secret({len(self)} bytes)"

    __str__ = __repr__


def digest(data: bytes) -> bytes:
    """SHA-256."""
    state = hashes.Hash(hashes.SHA256())
    state.update(data)
    return state.finalize()


@final
class Agreement:
    """X25519 with one secret key, 32 bytes (RFC 7748, section 6.1)."""

    def __init__(self, secret: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(secret)

    @property
    def public(self) -> bytes:
        """The public key."""
        return self._key.public_key().public_bytes_raw()

    def with_(self, public: bytes) -> Secret:
        """The secret shared with the owner of a public key.

        Raises:
            KeysChanged: that key is of low order, so the secret would be predictable.
        """
        try:
            return Secret(self._key.exchange(X25519PublicKey.from_public_bytes(public)))
        except ValueError as error:
            raise KeysChanged("a public key is of low order; no honest client makes such a key") from error


def derive(secret: bytes, info: bytes, length: int = 16, salt: bytes | None = None) -> Secret:
    """HKDF with SHA-256 (RFC 5869)."""
    return Secret(HKDF(hashes.SHA256(), length, salt, info).derive(secret))


def identity_key(secret: bytes) -> bytes:
    """Ed25519 public key for a secret key (RFC 8032, section 5.1.5)."""
    return Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def weak_identity(public: bytes) -> bool:
    """Whether anybody could sign for an Ed25519 public key: it has low order or is not canonical.

    With a key of low order, the signature (sB, s) is valid for at least one s in
    eight, whatever the message (RFC 8032, section 5.1.7, does not refuse it). A
    number of 2**255 - 19 or more is a second encoding of another key.

    >>> weak_identity(bytes(32)), weak_identity(identity_key(b"1" * 32))
    (True, False)
    """
    y = int.from_bytes(public, "little") & (2**255 - 1)
    return y >= _PRIME or y in _LOW_ORDER


def sign(secret: bytes, message: bytes) -> bytes:
    """Ed25519 signature (RFC 8032, section 5.1.6)."""
    return Ed25519PrivateKey.from_private_bytes(secret).sign(message)


def verify(public: bytes, signature: bytes, message: bytes, signer: str) -> None:
    """Check a signature; raises `BadSignature`, which names the signer, for a weak key too."""
    if weak_identity(public):
        raise BadSignature(f"the identity key of {signer!r} is weak: anybody can sign for it")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise BadSignature(f"the signature of {signer!r} is not valid for this message") from error


def seal(key: bytes, plain: bytes, bound: bytes) -> bytes:
    """AES-128-GCM with a key used only once, so the nonce may be zero; `bound` is authenticated."""
    return AESGCM(key).encrypt(bytes(12), plain, bound)


def open_sealed(key: bytes, sealed: bytes, bound: bytes, sender: str) -> Secret:
    """Undo `seal`; raises `BadShare`, which names the sender."""
    try:
        return Secret(AESGCM(key).decrypt(bytes(12), sealed, bound))
    except InvalidTag as error:
        raise BadShare(f"what {sender!r} sealed is not for this client and round, or was changed") from error


class Keystream:
    """AES-128 in counter mode over zeros (NIST SP 800-38A, section 6.5), into one reused buffer.

    Args:
        length: bytes of each stream.
    """

    def __init__(self, length: int) -> None:
        self._zeros = bytes(length)
        # `update_into` requires a buffer larger than its output by a block minus one byte.
        self._buffer = bytearray(length + _BLOCK - 1)
        self._view = np.frombuffer(self._buffer, np.uint8, length)

    def of(self, key: bytes, start: bytes = bytes(_BLOCK)) -> NDArray[Any]:
        """The stream of a key, `(length,) uint8`; the next call overwrites it.

        Args:
            key: 16 bytes, for one stream only.
            start: the first counter block.
        """
        Cipher(algorithms.AES128(key), modes.CTR(start)).encryptor().update_into(self._zeros, self._buffer)
        return self._view
