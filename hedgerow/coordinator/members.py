"""Who may take part: names that are invited, devices that have joined, nodes that have left.

All of it is one file, `members.json`, that the gateway and the commands change
one after the other. Of a token only its hash is kept.
"""

import base64
import binascii
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hedgerow.client.secure.register_file import register_line
from hedgerow.coordinator.certificates import authority
from hedgerow.coordinator.folder import FederationError, FederationFolder
from hedgerow.files import PRIVATE, file_name, locked, write_whole
from hedgerow.recipe.versions import own, supported
from hedgerow.secure.errors import Malformed
from hedgerow.secure.register import parse_register
from hedgerow.wording import did_you_mean

_FILE = "members.json"


class JoinRefused(Exception):
    """Somebody may not join; `status` is HTTP's."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True)
class Device:
    """A device that has joined.

    Attributes:
        node_key: its public key as a node, PEM.
        node_id: at the SuperLink.
        identity: its public key under a mask, 64 hex digits; empty where it has none.
        token: hash of the one it joined with, so that a reply which was lost can be asked for again.
        joined: when, in Unix seconds.
    """

    node_key: str
    node_id: int
    identity: str
    token: str
    joined: float


@dataclass
class Members:
    """What `members.json` holds.

    Attributes:
        invited: `{hash of a token: name}`.
        devices: `{name: device}`.
        gone: nodes that the SuperLink still has to forget.
    """

    invited: dict[str, str] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    gone: list[int] = field(default_factory=list)

    @property
    def waited_for(self) -> set[str]:
        """Names that are invited and have not joined yet."""
        return set(self.invited.values()) - set(self.devices)


def load_members(folder: FederationFolder) -> Members:
    """As they stand; raises `FederationError`."""
    try:
        found = folder.read(_FILE, {})
        devices = {name: Device(**each) for name, each in found.get("devices", {}).items()}
        return Members(dict(found.get("invited", {})), devices, list(found.get("gone", [])))
    except (TypeError, AttributeError, ValueError) as error:
        raise FederationError(f"{folder.path / _FILE} cannot be read: {error}; restore it") from error


@contextmanager
def changed_members(folder: FederationFolder) -> Iterator[Members]:
    """The members, to be changed; written where nothing is raised. Raises `FederationError` and `OSError`."""
    with locked(folder.path / "members.lock"):
        members = load_members(folder)
        yield members
        folder.write(_FILE, asdict(members))


@final
class KnownKeys:
    """Devices by their public key, read again when the file has changed."""

    def __init__(self, folder: FederationFolder) -> None:
        self._folder, self._stamp = folder, (0, 0)
        self._names: Mapping[bytes, str] = {}
        self.members = Members()

    def refresh(self) -> Members:
        """The members, as they stand."""
        try:
            about = (self._folder.path / _FILE).stat()
        except FileNotFoundError:
            return self.members
        if (stamp := (about.st_mtime_ns, about.st_ino)) != self._stamp:
            self.members, self._stamp = load_members(self._folder), stamp
            self._names = {each.node_key.encode(): name for name, each in self.members.devices.items()}
        return self.members

    def name(self, node_key: bytes) -> str | None:
        """The device whose key it is, `None` for nobody's."""
        self.refresh()
        return self._names.get(node_key)


def invite(folder: FederationFolder, name: str, out: Path) -> Path:
    """Write a kit for one device, and invalidate an earlier one for it that was not used; returns its file.

    Raises:
        FederationError: the name cannot be a device's, or a device of that name has joined.
        OSError: the kit cannot be written.
    """
    try:
        register_line(name, bytes(32))
    except ValueError as error:
        raise FederationError(str(error)) from error
    settings, token = folder.settings, secrets.token_bytes(32)
    with changed_members(folder) as members:
        if name in members.devices:
            raise FederationError(
                f"{name!r} has joined already; to set it up anew, first run: hedgerow revoke {name}"
            )
        members.invited = {known: who for known, who in members.invited.items() if who != name}
        members.invited[_hash(token)] = name
        kit = {
            "hedgerow": "0.1",
            "federation": settings.federation,
            "name": name,
            "address": settings.address,
            "ca": authority(folder).certificate.read_text() if settings.own_ca else None,
            "token": base64.urlsafe_b64encode(token).decode(),
            "administrator": settings.administrator or None,
        }
        file = out / f"{file_name(name)}.kit"
        write_whole(file, (json.dumps(kit, indent=1, ensure_ascii=False) + "\n").encode(), mode=PRIVATE)
    return file


def join(
    folder: FederationFolder,
    request: Mapping[str, Any],
    register_node: Callable[[bytes, str], int],
) -> Device:
    """Let a device in, by its token; asked again by the same device, it gets the same answer.

    Args:
        request: what the device has sent.
        register_node: tells the SuperLink of its key, and gives the id of the node.

    Raises:
        JoinRefused: it may not.
    """
    name, key, identity, token = _read(request)
    with changed_members(folder) as members:
        there = members.devices.get(name)
        if there is not None and (there.token, there.node_key) == (token, key):
            return there
        if members.invited.get(token) != name:
            raise JoinRefused(403, "the token is not valid for this name: it was used, replaced or revoked")
        if there is not None:
            raise JoinRefused(409, f"{name!r} has joined with another key")
        for other, device in members.devices.items():
            if key == device.node_key or (identity and identity == device.identity):
                raise JoinRefused(409, f"the key is that of {other!r}; each device must have its own")
        device = Device(key, register_node(key.encode(), name), identity, token, time.time())
        members.devices[name] = device
        del members.invited[token]
    return device


def leave(folder: FederationFolder, name: str) -> None:
    """Take a device out, and every invitation of it; the gateway then has the SuperLink forget its node.

    Raises:
        FederationError: there is nobody of that name.
    """
    with changed_members(folder) as members:
        device = members.devices.pop(name, None)
        invited = [token for token, who in members.invited.items() if who == name]
        if device is None and not invited:
            near = did_you_mean(name, [*members.devices, *members.invited.values()])
            raise FederationError(f"{name!r} is not in the federation, and not invited.{near}")
        for token in invited:
            del members.invited[token]
        if device is not None:
            members.gone.append(device.node_id)


def _read(request: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Name, node key, identity and hash of the token; raises `JoinRefused`."""
    version, name = request.get("hedgerow"), request.get("name")
    if not isinstance(version, str) or not supported(version):
        raise JoinRefused(
            400,
            f"hedgerow is {version!r:.40}; this coordinator has {own()}, and takes one minor version more or"
            f" less: pip install hedgerow=={own()}",
        )
    try:
        register_line(str(name), bytes(32))
        token = base64.urlsafe_b64decode(str(request.get("token")))
        identity = str(request.get("identity") or "")
        if identity:
            parse_register({str(name): identity})
        pem = str(request.get("node_key")).encode()
        key = serialization.load_pem_public_key(pem)
    except (ValueError, binascii.Error, Malformed, UnsupportedAlgorithm) as error:
        raise JoinRefused(400, f"the request to join cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise JoinRefused(400, "node_key must be a public key on the curve P-384, as PEM")
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return str(name), key.public_bytes(*form).decode(), identity, _hash(token)


def _hash(token: bytes) -> str:
    return hashlib.sha256(token).hexdigest()
