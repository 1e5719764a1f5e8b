"""What a device sends in order to join: checked, with its keys in canonical form."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hedgerow.client.secure.register_file import register_line
from hedgerow.recipe.versions import own, supported
from hedgerow.secure.errors import Malformed
from hedgerow.secure.register import parse_register

_SOMEBODY = "phone"  # in place of a name that is not given yet


class JoinRefused(Exception):
    """A device may not join; `status` is the HTTP status."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True)
class JoinRequest:
    """A device that asks to join.

    Attributes:
        name: that its kit has; empty for a phone, which gets one.
        node_key: its public key as a node, PEM.
        identity: its public key for masked rounds, 64 hex digits; empty if it has none.
        token: hash of the one it was invited with.
    """

    name: str
    node_key: str
    identity: str
    token: str


def read_request(request: Mapping[str, Any]) -> JoinRequest:
    """Read a request; raises `JoinRefused`."""
    version, name = request.get("hedgerow"), str(request.get("name") or "")
    if not isinstance(version, str) or not supported(version):
        raise JoinRefused(
            400,
            f"hedgerow is {version!r:.40}; this coordinator has {own()} and accepts one minor version more or"
            f" less: pip install hedgerow=={own()}",
        )
    try:
        register_line(name or _SOMEBODY, bytes(32))
        token = base64.urlsafe_b64decode(str(request.get("token")))
        identity = str(request.get("identity") or "")
        if identity:
            parse_register({name or _SOMEBODY: identity})
    except (ValueError, binascii.Error, Malformed) as error:
        raise JoinRefused(400, f"the request to join cannot be read: {error}") from error
    return JoinRequest(name, public_key(request.get("node_key")), identity, token_hash(token))


def public_key(given: Any) -> str:
    """A node's key in canonical form, for comparing; raises `JoinRefused`."""
    try:
        key = serialization.load_pem_public_key(str(given).encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise JoinRefused(400, f"node_key cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise JoinRefused(400, "node_key must be a public key on the curve P-384, as PEM")
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(*form).decode()


def token_hash(token: bytes) -> str:
    """All that is kept of a token."""
    return hashlib.sha256(token).hexdigest()
