"""The members of a federation: invited names, devices that have joined, nodes that have left.

Everything is in one file, `members.json`, which the gateway and the commands change
one after the other. Only the hash of a token is kept.
"""

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hedgerow.client.secure.register_file import register_line
from hedgerow.coordinator.certificates import authority
from hedgerow.coordinator.folder import FederationError, FederationFolder
from hedgerow.coordinator.join_request import (
    JoinRefused,
    JoinRequest,
    public_key,
    read_request,
    token_hash,
)
from hedgerow.coordinator.open_invitation import PREFIX, OpenInvitation
from hedgerow.files import PRIVATE, file_name, locked, write_whole
from hedgerow.node.keys import rotation_message
from hedgerow.wording import did_you_mean

_FILE = "members.json"


@dataclass(frozen=True)
class Device:
    """A device that has joined.

    Attributes:
        node_key: its public key as a node, PEM.
        node_id: at the SuperLink.
        identity: its public key for masked rounds, 64 hex digits; empty if it has none.
        token: hash of the token it joined with, so that it can ask again if the reply is lost.
        joined: when, in Unix seconds.
        phone: whether it has joined by an open invitation, in a browser.
    """

    node_key: str
    node_id: int
    identity: str
    token: str
    joined: float
    phone: bool = False


@dataclass
class Members:
    """The contents of `members.json`.

    Attributes:
        invited: `{hash of a token: name}`.
        devices: `{name: device}`.
        gone: nodes that the SuperLink still has to forget.
        open: the invitation for phones; `None` if there is none.
        phones: how many have been given a name so far; none is given twice.
    """

    invited: dict[str, str] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    gone: list[int] = field(default_factory=list)
    open: OpenInvitation | None = None
    phones: int = 0

    @property
    def waited_for(self) -> set[str]:
        """Names that are invited but have not joined yet."""
        return set(self.invited.values()) - set(self.devices)

    @property
    def places(self) -> int:
        """How many phones can join now."""
        return 0 if self.open is None else self.open.places()

    def again(self, asked: JoinRequest) -> str | None:
        """The name of a device that has joined by this very request, whose answer it may not have got."""
        same = (name for name, there in self.devices.items()
                if (there.token, there.node_key) == (asked.token, asked.node_key)
                and asked.name == ("" if there.phone else name))  # fmt: skip
        return next(same, None)

    def admitted(self, asked: JoinRequest) -> str:
        """The name under which a device joins, whose token is then used; raises `JoinRefused`."""
        if self.open is not None and (asked.token, asked.name) == (self.open.token, ""):
            self.open = self.open.used()
            taken = {*self.devices, *self.invited.values()}
            self.phones = next(n for n in count(self.phones + 1) if f"{PREFIX}{n}" not in taken)
            return f"{PREFIX}{self.phones}"
        if not asked.name or self.invited.get(asked.token) != asked.name:
            raise JoinRefused(403, "the token is not valid for this name: it was used, replaced or revoked")
        if asked.name in self.devices:
            raise JoinRefused(409, f"{asked.name!r} has joined with another key")
        del self.invited[asked.token]
        return asked.name


def load_members(folder: FederationFolder) -> Members:
    """The current members; raises `FederationError`."""
    try:
        found = folder.read(_FILE, {})
        devices = {name: Device(**each) for name, each in found.get("devices", {}).items()}
        opened = found.get("open")
        return Members(
            dict(found.get("invited", {})), devices, list(found.get("gone", [])),
            None if opened is None else OpenInvitation(**opened), int(found.get("phones", 0)),
        )  # fmt: skip
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
        return self.refresh().invited[token_hash(base64.urlsafe_b64decode(token))]


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
        members.invited |= {token_hash(token): name for name, token in tokens.items()}
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
) -> tuple[str, Device]:
    """Let a device in by its token; if the same device asks again, it gets the same answer.

    Args:
        request: sent by the device.
        register_node: registers its key with the SuperLink, and returns the node's id.

    Returns:
        Its name, which a phone is given, and the device.

    Raises:
        JoinRefused: it may not join; its token is not used then.
    """
    asked = read_request(request)
    with changed_members(folder) as members:
        if (name := members.again(asked)) is not None:
            return name, members.devices[name]
        name = members.admitted(asked)
        for other, there in members.devices.items():
            if asked.node_key == there.node_key or (asked.identity and asked.identity == there.identity):
                raise JoinRefused(409, f"the key belongs to {other!r}; each device must have its own")
        node, phone = register_node(asked.node_key.encode(), name), not asked.name
        device = Device(asked.node_key, node, asked.identity, asked.token, time.time(), phone)
        members.devices[name] = device
    return name, device


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
    key = public_key(request.get("node_key"))
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
