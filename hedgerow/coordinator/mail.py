"""Messages that the ServerApp hands to the gateway, beside the SuperLink, which has them too.

A device's answer is taken whether or not its SuperLink has handed the message out itself; so the gateway
need not ask for one that it has here. What lies here is a hint, as the bell is: whatever is lost of it, the
SuperLink hands out.
"""

from contextlib import suppress
from typing import final

from hedgerow.coordinator.folder import FederationFolder
from hedgerow.files import PRIVATE, private_folder, write_whole
from hedgerow.sealed import Damaged, sealed, unsealed

FOLDER = "mail"


@final
class Mail:
    """The last message of each device that it has not been handed."""

    def __init__(self, folder: FederationFolder) -> None:
        self._path = folder.path / FOLDER

    def put(self, node: int, answer: bytes) -> None:
        """Hand over what a node's next look for messages is to be answered with, in place of the last."""
        with suppress(OSError):
            write_whole(
                private_folder(self._path) / f"{node:016x}", sealed(answer), durable=False, mode=PRIVATE
            )

    def take(self, node: int) -> bytes | None:
        """What there is for a node, once; `None` where there is nothing that is whole."""
        file = self._path / f"{node:016x}"
        try:
            data = file.read_bytes()
            file.unlink()
            return unsealed(data, always=True)
        except (OSError, Damaged):
            return None

    def clear(self) -> None:
        """Throw away what there is, of a run that nobody carries on."""
        for file in self._path.glob("*"):
            file.unlink(missing_ok=True)
