"""How a device joins a federation, and leaves it."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hedgerow.client.policy import Policy
from hedgerow.client.policy_file import NAME as POLICY
from hedgerow.client.policy_file import policy_text
from hedgerow.client.secure.enrolment import enrol
from hedgerow.files import PRIVATE, private_folder, write_whole
from hedgerow.locks import hold
from hedgerow.node.connection import Connection, Denied
from hedgerow.node.device import Device, Enrolled
from hedgerow.node.fleet import Fleet
from hedgerow.node.identities import take_register
from hedgerow.node.keys import node_key
from hedgerow.node.kit import Kit
from hedgerow.node.own_samples import resolved
from hedgerow.wire.text import read_json

log = logging.getLogger("hedgerow")

_COLLECTED_SECONDS = 5.0


class NotJoined(Exception):
    """The coordinator does not let the device in; the error says why, and what to do."""


def join(kit: Kit, folder: Path, data: Path, policy: Policy, trainer: str = "") -> Device:
    """Create a device's keys in its folder, and register their public halves with the coordinator.

    Repeating it with the same kit and folder changes only policy and data.

    Args:
        kit: the invitation.
        folder: of the device.
        data: its own data.
        policy: what it answers.
        trainer: name of the one to take in place of each run's own; empty for none.

    Raises:
        NotJoined: the coordinator refuses.
        Unreachable: it does not answer.
        Malformed, ValueError, OSError: the folder is not private to the device, or cannot be used.
    """
    private_folder(folder)
    answer = _ask(kit, folder, enrol(folder))
    write_whole(folder / POLICY, policy_text(policy).encode(), mode=PRIVATE)
    administrator = take_register(folder, kit, answer)
    return Device.make(
        folder,
        Enrolled(
            kit=replace(kit, administrator=administrator),
            gateway=kit.token is not None,
            node=int(answer.get("node_id") or 0),
            data=resolved(data),
            since=time.time(),
            trainer=trainer,
        ),
    )


def leave(folder: Path, told: Callable[[str], None] = log.info) -> None:
    """Take a device out of its federation, and erase its keys and everything it remembers.

    Raises:
        ValueError: no device has joined in the folder.
        FolderInUse: the device is running.
        Unreachable: the coordinator does not answer; nothing is erased.
    """
    device = Device(folder)
    with hold(folder):
        _wait_for_collection(folder)
        kit, key = device.enrolled.kit, device.key
        connection = Connection(kit.address, kit.ca, key)
        fleet = Fleet(connection, device.enrolled.node)
        try:
            if device.enrolled.gateway:
                connection.call("/leave", b"{}", "application/json")
            elif fleet.node:
                fleet.unregister()
        except Denied as error:
            told(f"{error}; the device's keys are erased anyway")
        finally:
            connection.close()
        device.erase()


def _ask(kit: Kit, folder: Path, identity: str) -> dict[str, Any]:
    """The coordinator's answer to a device that wants to join."""
    if kit.token is None:
        return {}
    key = node_key(folder / "node.key")
    asked = {
        "hedgerow": version("hedgerow"), "token": kit.token, "name": kit.name,
        "node_key": key.public.decode(), "identity": identity,
    }  # fmt: skip
    connection = Connection(kit.address, kit.ca, key)
    try:
        found = read_json(connection.call("/join", json.dumps(asked).encode(), "application/json"))
    except Denied as error:
        raise NotJoined(f"{error}{_REMEDIES.get(error.status, '')}") from error
    except ValueError as error:
        raise NotJoined(f"{kit.address} does not answer like a coordinator: {error}") from error
    finally:
        connection.close()
    if not isinstance(found, dict) or not isinstance(found.get("node_id"), int):
        raise NotJoined(f"{kit.address} does not answer like a coordinator; is the address right?")
    return found


def _wait_for_collection(folder: Path) -> None:
    """A reply is lost if its node is unregistered before the server has collected it."""
    places = [place for place in (folder / "outbox" / "answers").glob("*") if place.is_file()]
    newest = max((place.stat().st_mtime for place in places), default=0.0)
    wait = newest + _COLLECTED_SECONDS - time.time()
    if 0 < wait <= _COLLECTED_SECONDS:
        time.sleep(wait)


_REMEDIES = {
    403: "; a kit's token is good for one device, once: ask for a new kit",
    409: "; another device has joined under this name: ask for a kit with another one",
}
