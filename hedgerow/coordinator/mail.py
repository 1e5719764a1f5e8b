"""Messages that the ServerApp hands to the gateway, beside the SuperLink, which has them too.

The SuperLink accepts a device's answer even if it did not hand out the message itself, so the gateway need
not ask it for a message that is here. Like the bell, this is only a hint: the SuperLink hands out whatever is
lost here.
"""

from contextlib import suppress
from typing import final

from hedgerow.coordinator.folder import FederationFolder
from hedgerow.files import PRIVATE, private_folder, write_whole
from hedgerow.sealed import Damaged, sealed, unsealed

FOLDER = "mail"


@final
class Mail:
    """The last message for each device that has not been handed out."""

    def __init__(self, folder: FederationFolder) -> None:
        self._path = folder.path / FOLDER

    def put(self, node: int, answer: bytes) -> None:
        """Set the answer to a node's next poll, replacing an earlier one."""
        with suppress(OSError):
            write_whole(
                private_folder(self._path) / f"{node:016x}", sealed(answer), durable=False, mode=PRIVATE
            )

    def take(self, node: int) -> bytes | None:
        """Take the answer for a node, once; `None` if there is none that is intact."""
        file = self._path / f"{node:016x}"
        try:
            data = file.read_bytes()
            file.unlink()
            return unsealed(data, always=True)
        except (OSError, Damaged):
            return None

    def clear(self) -> None:
        """Discard all messages, which belong to a run that has ended."""
        for file in self._path.glob("*"):
            file.unlink(missing_ok=True)
