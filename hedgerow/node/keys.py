"""The key that identifies a node to a SuperLink: made on the device, and never sent."""

import os
import time
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hedgerow.files import PRIVATE

_SAME_SECONDS = 5.0


@final
class NodeKey:
    """A P-384 key, as Flower's nodes have them.

    Args:
        pem: the secret key.

    Raises:
        ValueError: it is not a P-384 key.
    """

    def __init__(self, pem: bytes) -> None:
        key = serialization.load_pem_private_key(pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
            raise ValueError("the node's key is not a P-384 key; remove it and join again")
        self._key = key
        self._headers: dict[str, str] = {}
        self._until = 0.0
        self.public: bytes = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, message: bytes) -> bytes:
        """ECDSA with SHA-256, as a node signs."""
        return self._key.sign(message, ec.ECDSA(hashes.SHA256()))

    def headers(self) -> dict[str, str]:
        """The headers that sign a call: Flower signs only the time, and leaves the rest to TLS.

        Reused for some seconds, because a server accepts them for minutes.
        """
        if time.monotonic() < self._until:
            return dict(self._headers)
        self._until = time.monotonic() + _SAME_SECONDS
        now = datetime.now(UTC).isoformat()
        signature = self.sign(now.encode())
        self._headers = {
            "flwr-public-key": b64encode(self.public).decode(),
            "flwr-timestamp": now,
            "flwr-signature": b64encode(signature).decode(),
        }
        return dict(self._headers)


def rotation_message(federation: str, name: str, key: str) -> bytes:
    """What a device's present key signs to be replaced by another key, a PEM."""
    return f"hedgerow node key 1\n{federation}\n{key}{name}".encode()


def node_key(file: Path) -> NodeKey:
    """The key in a file, which is created if missing, private to its owner.

    Raises:
        ValueError: the file does not hold a P-384 key.
        OSError: it cannot be read or written.
    """
    if not file.exists():
        pem = ec.generate_private_key(ec.SECP384R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb") as out:
            out.write(pem)
            out.flush()
            os.fsync(out.fileno())
    try:
        return NodeKey(file.read_bytes())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{file} is not a node's key: {error}; restore it from a copy") from error
