"""Graphs on a device: fetched once from its coordinator, and kept by their hash.

graphs/HASH    graphs with their manifest, as they have travelled
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import final

from hedgerow.files import PRIVATE, keep_newest, private_folder, write_whole
from hedgerow.graphs.bundle import Graphs
from hedgerow.graphs.errors import BadGraphs
from hedgerow.graphs.offer import PATH, Offer
from hedgerow.node.connection import Denied

log = logging.getLogger("hedgerow")

_MOST = 8

Ask = Callable[[str], bytes]
"""`path -> body` of the coordinator's answer to a `GET`."""


def nowhere(path: str) -> bytes:
    """An `Ask` where there is no coordinator."""
    raise Denied(404, f"there is no {path}")


@final
class MissingGraphs(Exception):
    """Graphs that the device takes, and does not have yet."""

    def __init__(self, offer: Offer) -> None:
        super().__init__(offer.hash)
        self.offer = offer


@final
class DeviceGraphs:
    """The graphs in a device's folder.

    Args:
        folder: of the device.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "graphs"

    def get(self, offer: Offer) -> Graphs:
        """Graphs that were fetched before, if they are still what they were.

        Raises:
            MissingGraphs: there are none, or they have changed on the disk.
            OSError: they cannot be read.
        """
        file = self._folder / offer.hash
        if not file.exists():
            raise MissingGraphs(offer)
        try:
            return offer.opened(file.read_bytes())
        except BadGraphs as error:
            log.warning("%s: %s; it is fetched again", file, error)
            raise MissingGraphs(offer) from error

    def fetch(self, offer: Offer, ask: Ask) -> str:
        """Fetch graphs; returns why the coordinator's are not taken, or an empty text.

        Raises:
            Unreachable, OSError: it can be tried again.
        """
        try:
            data = ask(f"{PATH}/{offer.hash}")
            offer.opened(data)
        except (Denied, BadGraphs) as error:
            return str(error)
        write_whole(private_folder(self._folder) / offer.hash, data, mode=PRIVATE)
        keep_newest(self._folder, _MOST)
        return ""
