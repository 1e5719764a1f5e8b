"""Find the device that made a call: the one whose key signed the call's timestamp."""

import base64
import datetime
import time
from collections.abc import Mapping
from typing import final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hedgerow.coordinator.http_types import Refused
from hedgerow.coordinator.members import KnownKeys

SIGNED = ("flwr-public-key", "flwr-timestamp", "flwr-signature")
"""The headers of a call that is signed."""

_AHEAD, _BEHIND = 5.0, 305.0  # seconds that a device's clock may differ, as in the SuperLink's own check


@final
class Senders:
    """Checks who makes the calls to a federation.

    Args:
        keys: the keys of the devices that have joined.
    """

    def __init__(self, keys: KnownKeys) -> None:
        self._keys = keys
        self._verified: dict[bytes, tuple[str, bytes]] = {}

    def sender(self, headers: Mapping[str, str]) -> str:
        """The device that signed; raises `Refused`. The SuperLink checks which node it may act for."""
        try:
            key, signature = (_decoded(headers, name) for name in (SIGNED[0], SIGNED[2]))
            stamp = headers[SIGNED[1]]
            age = time.time() - datetime.datetime.fromisoformat(stamp).timestamp()
            name = self._named(key)
            if not -_AHEAD < age < _BEHIND:
                raise Refused(401, "the device's clock differs from the coordinator's; set it")
            if self._verified.get(key) != (stamp, signature):  # a device reuses a signature for some seconds
                public = serialization.load_pem_public_key(key)
                assert isinstance(public, ec.EllipticCurvePublicKey)  # only such keys can join
                public.verify(signature, stamp.encode(), ec.ECDSA(hashes.SHA256()))
                self._verified[key] = stamp, signature
        except (KeyError, ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
            raise Refused(401, "the call is not signed by a device of this federation") from error
        return name

    def again(self, headers: Mapping[str, str]) -> str:
        """The device of a call whose signature was checked; raises `Refused` if it was revoked since."""
        return self._named(_decoded(headers, SIGNED[0]))

    def _named(self, key: bytes) -> str:
        """The device with this key; raises `Refused`."""
        if (name := self._keys.name(key)) is None:
            raise Refused(401, "this key has not joined, or was revoked")
        return name


def _decoded(headers: Mapping[str, str], name: str) -> bytes:
    return base64.b64decode(headers[name], validate=True)
