"""What a device can check before it joins."""

import importlib.util
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from hedgerow.files import who_else_can_write
from hedgerow.node.connection import Connection, Denied, Unreachable
from hedgerow.node.keys import node_key
from hedgerow.node.kit import Kit
from hedgerow.node.own_samples import resolved

_AHEAD, _BEHIND = 5.0, 300.0


def checks_of(kit: Kit, folder: Path, data: Path) -> Iterator[tuple[bool, str]]:
    """`(passed, what was found)` for each thing that a device needs."""
    yield _coordinator(kit)
    yield _folder(folder)
    yield _data(data)
    with_torch = importlib.util.find_spec("torch") is not None
    yield True, f"trainers: torch is {'installed' if with_torch else 'not installed: plug-ins only'}"


def _coordinator(kit: Kit) -> tuple[bool, str]:
    with TemporaryDirectory() as place:
        connection = Connection(kit.address, kit.ca, node_key(Path(place) / "key"), seconds=10)
        try:
            connection.call("/register", b"", method="GET")
        except Denied:
            pass  # it is there
        except Unreachable as error:
            return False, f"coordinator: {error}"
        finally:
            connection.close()
    if connection.date:
        ahead = time.time() - parsedate_to_datetime(connection.date).timestamp()
        if not -_BEHIND < ahead < _AHEAD + 1:
            return (
                False,
                f"clock: {ahead:+.0f} s from the coordinator's; set it, or wait for the network's time",
            )
    return True, f"coordinator: {kit.address} answers, and the clocks agree"


def _folder(folder: Path) -> tuple[bool, str]:
    place = next(each for each in (folder, *folder.parents) if each.exists())
    why = who_else_can_write(place)
    return not why, f"folder: {why or folder}"


def _data(data: Path) -> tuple[bool, str]:
    try:
        resolved(data)
    except ValueError as error:
        return False, f"data: {error}"
    if data.is_file():
        try:
            with data.open("rb") as file:
                file.read(1)
        except OSError as error:
            return False, f"data: {error}"
    return True, f"data: {data} can be read; it is checked against a run's schema before anything is trained"
