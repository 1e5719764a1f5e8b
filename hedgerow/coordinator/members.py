"""The members of a federation: invited names, devices that have joined, nodes that have left.

Everything is in one file, `members.json`, which the gateway and the commands change
one after the other. Only the hash of a token is kept.
"""

import base64
import binascii
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hedgerow.client.secure.register_file import register_line
from hedgerow.coordinator.certificates import authority
from hedgerow.coordinator.folder import FederationError, FederationFolder
from hedgerow.files import PRIVATE, file_name, locked, write_whole
from hedgerow.node.keys import rotation_message
from hedgerow.recipe.versions import own, supported
from hedgerow.secure.errors import Malformed
from hedgerow.secure.register import parse_register
from hedgerow.wording import did_you_mean

_FILE = "members.json"


class JoinRefused(Exception):
    """A device may not join; `status` is the HTTP status."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True)
class Device:
    """A device that has joined.

    Attributes:
        node_key: its public key as a node, PEM.
        node_id: at the SuperLink.
        identity: its public key for masked rounds, 64 hex digits; empty if it has none.
        token: hash of the token it joined with, so that it can ask again if the reply is lost.
        joined: when, in Unix seconds.
    """

    node_key: str
    node_id: int
    identity: str
    token: str
    joined: float


@dataclass
class Members:
    """The contents of `members.json`.

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
        """Names that are invited but have not joined yet."""
        return set(self.invited.values()) - set(self.devices)


def load_members(folder: FederationFolder) -> Members:
    """The current members; raises `FederationError`."""
    try:
        found = folder.read(_FILE, {})
        devices = {name: Device(**each) for name, each in found.get("devices", {}).items()}
        return Members(dict(found.get("invited", {})), devices, list(found.get("gone", [])))
    except (TypeError, AttributeError, ValueError) as error:
        raise FederationError(f"{folder.path / _FILE} cannot be read: {error}; restore it") from error


@contextmanager
def changed_members(folder: FederationFolder) -> Iterator[Members]:
    """The members, to be changed; saved unless an error is raised. Raises `FederationError` and `OSError`."""
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
        """The current members."""
        try:
            about = (self._folder.path / _FILE).stat()
        except FileNotFoundError:
            return self.members
        if (stamp := (about.st_mtime_ns, about.st_ino)) != self._stamp:
            self.members, self._stamp = load_members(self._folder), stamp
            self._names = {each.node_key.encode(): name for name, each in self.members.devices.items()}
        return self.members

    def name(self, node_key: bytes) -> str | None:
        """The device with this key, or `None`."""
        self.refresh()
        return self._names.get(node_key)

    def invited(self, token: str) -> str:
        """The name that a kit's unused token lets in; raises `KeyError` and `ValueError` for other texts."""
        return self.refresh().invited[_hash(base64.urlsafe_b64decode(token))]


def invite(folder: FederationFolder, name: str, out: Path) -> Path:
    """Write the kit of one device, see `invite_all`; returns its file."""
    return invite_all(folder, [name], out)[0]


def invite_all(folder: FederationFolder, names: Sequence[str], out: Path) -> list[Path]:
    """Write a kit for each name, and invalidate earlier unused ones; returns the files.

    Raises:
        FederationError: a name is invalid, or a device of that name has joined; no kit is
            written then.
        OSError: a kit cannot be written; nobody is invited then.
    """
    names = list(dict.fromkeys(names))
    for name in names:
        try:
            register_line(name, bytes(32))
        except ValueError as error:
            raise FederationError(str(error)) from error
    settings = folder.settings
    with changed_members(folder) as members:
        for name in names:
            if name in members.devices:
                raise FederationError(
                    f"{name!r} has already joined; to set it up again, first run: hedgerow revoke {name}"
                )
        tokens = {name: secrets.token_bytes(32) for name in names}
        members.invited = {known: who for known, who in members.invited.items() if who not in tokens}
        members.invited |= {_hash(token): name for name, token in tokens.items()}
        common = {
            "hedgerow": "0.1",
            "federation": settings.federation,
            "address": settings.address,
            "ca": authority(folder).certificate.read_text() if settings.own_ca else None,
            "administrator": settings.administrator or None,
        }
        files = []
        for name, token in tokens.items():
            kit = {**common, "name": name, "token": base64.urlsafe_b64encode(token).decode()}
            files.append(out / f"{file_name(name)}.kit")
            text = json.dumps(kit, indent=1, ensure_ascii=False) + "\n"
            write_whole(files[-1], text.encode(), mode=PRIVATE)
    return files


def join(
    folder: FederationFolder,
    request: Mapping[str, Any],
    register_node: Callable[[bytes, str], int],
) -> Device:
    """Let a device in by its token; if the same device asks again, it gets the same answer.

    Args:
        request: sent by the device.
        register_node: registers its key with the SuperLink, and returns the node's id.

    Raises:
        JoinRefused: it may not join.
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
                raise JoinRefused(409, f"the key belongs to {other!r}; each device must have its own")
        device = Device(key, register_node(key.encode(), name), identity, token, time.time())
        members.devices[name] = device
        del members.invited[token]
    return device


def rotate(
    folder: FederationFolder,
    name: str,
    request: Mapping[str, Any],
    register_node: Callable[[bytes, str], int],
) -> Device:
    """Replace a device's key by one that the present key has signed; asking again gives the same answer.

    Args:
        name: of the device that asks.
        request: its new `node_key`, and the present one's `signature` of `rotation_message`.
        register_node: as in `join`.

    Raises:
        JoinRefused: the key is invalid, another device's, or not signed by the present one.
    """
    key = _public_key(request.get("node_key"))
    with changed_members(folder) as members:
        device = members.devices.get(name)
        if device is None:
            raise JoinRefused(403, f"{name!r} has not joined")
        if device.node_key == key:
            return device
        if any(key == other.node_key for other in members.devices.values()):
            raise JoinRefused(409, "the key belongs to another device; each must have its own")
        try:
            public = serialization.load_pem_public_key(device.node_key.encode())
            assert isinstance(public, ec.EllipticCurvePublicKey)  # only such keys can join
            signature = base64.b64decode(str(request.get("signature")), validate=True)
            message = rotation_message(folder.settings.federation, name, key)
            public.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError) as error:
            raise JoinRefused(403, "the new key is not signed by the present one") from error
        members.gone.append(device.node_id)
        changed = replace(device, node_key=key, node_id=register_node(key.encode(), name))
        members.devices[name] = changed
    return changed


def leave(folder: FederationFolder, name: str) -> None:
    """Remove a device and its invitations; the gateway then has the SuperLink forget its node.

    Raises:
        FederationError: there is no such name.
    """
    with changed_members(folder) as members:
        device = members.devices.pop(name, None)
        invited = [token for token, who in members.invited.items() if who == name]
        if device is None and not invited:
            near = did_you_mean(name, [*members.devices, *members.invited.values()])
            raise FederationError(f"{name!r} is neither in the federation nor invited.{near}")
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
            f"hedgerow is {version!r:.40}; this coordinator has {own()} and accepts one minor version more or"
            f" less: pip install hedgerow=={own()}",
        )
    try:
        register_line(str(name), bytes(32))
        token = base64.urlsafe_b64decode(str(request.get("token")))
        identity = str(request.get("identity") or "")
        if identity:
            parse_register({str(name): identity})
    except (ValueError, binascii.Error, Malformed) as error:
        raise JoinRefused(400, f"the request to join cannot be read: {error}") from error
    return str(name), _public_key(request.get("node_key")), identity, _hash(token)


def _public_key(given: Any) -> str:
    """A node's key in canonical form, for comparing; raises `JoinRefused`."""
    try:
        key = serialization.load_pem_public_key(str(given).encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise JoinRefused(400, f"node_key cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise JoinRefused(400, "node_key must be a public key on the curve P-384, as PEM")
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(*form).decode()


def _hash(token: bytes) -> str:
    return hashlib.sha256(token).hexdigest()
