"""How a device changes its key, or its coordinator's address, and keeps its identity."""

import json
import os
from base64 import b64encode
from dataclasses import replace

from hedgerow.locks import hold
from hedgerow.node.connection import Connection, Denied, check_address
from hedgerow.node.device import Device
from hedgerow.node.join import NotJoined
from hedgerow.node.keys import NodeKey, node_key, rotation_message
from hedgerow.wire.text import read_json

_NEXT = "node.key.next"


def rotate(device: Device) -> None:
    """Make a new key on the device, and have the coordinator replace the present one with it.

    If it is killed at any moment, the next call continues. The identity for masks stays, because it is
    in the register of all devices.

    Raises:
        NotJoined: the coordinator refuses, or the device has none.
        Unreachable: it does not answer; the present key stays.
        FolderInUse: the device is running.
    """
    if not device.enrolled.gateway:
        raise NotJoined(
            "a SuperLink without a gateway does not accept a new key for a node; leave, and join again"
        )
    with hold(device.folder):
        file = device.folder / _NEXT
        begun, new = file.exists(), node_key(file)
        try:
            node = _ask(device, new, device.key)
        except Denied as error:
            # The coordinator may know the new key from an earlier call whose answer was lost.
            if not begun or error.status != 401:
                file.unlink()
                raise NotJoined(f"{error}; the present key stays") from error
            node = _told_before(device, new)
        device.change(node=node)
        os.replace(file, device.folder / "node.key")


def move(device: Device, address: str) -> None:
    """Reach the coordinator at another address from now on; its CA stays the same.

    Raises:
        ValueError: it is not an address.
    """
    check_address(address)
    device.change(kit=replace(device.enrolled.kit, address=address))


def _told_before(device: Device, new: NodeKey) -> int:
    """The node's id, if the coordinator has accepted the new key and its answer was lost."""
    try:
        return _ask(device, new, new)
    except Denied as error:
        raise NotJoined(f"{error}; neither key is known: leave, and join with a new kit") from error


def _ask(device: Device, new: NodeKey, signs: NodeKey) -> int:
    kit = device.enrolled.kit
    message = rotation_message(kit.federation, kit.name, new.public.decode())
    asked = {"node_key": new.public.decode(), "signature": b64encode(signs.sign(message)).decode()}
    connection = Connection(kit.address, kit.ca, signs)
    try:
        answer = read_json(connection.call("/rotate", json.dumps(asked).encode(), "application/json"))
        return int(answer["node_id"])
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise NotJoined(f"{kit.address} does not answer like a coordinator: {error}") from error
    finally:
        connection.close()
