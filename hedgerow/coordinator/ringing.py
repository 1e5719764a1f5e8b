"""The ServerApp's end of the bell."""

from collections.abc import Iterable
from typing import final

from flwr.app import Message
from flwr.serverapp import Grid

from hedgerow.coordinator.bell import ring
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.grids import GridAround

_AT_ONCE = 32


@final
class RingingGrid(GridAround):
    """Tells the gateway which nodes have messages waiting, once the messages are complete.

    A few at a time: those devices work while more is sent, and not all of them call at once.
    """

    def __init__(self, grid: Grid, folder: FederationFolder) -> None:
        super().__init__(grid)
        self._folder = folder

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send messages, and ring for their receivers; their ids, in order."""
        sent = list(messages)
        ids: list[str] = []
        for first in range(0, len(sent), _AT_ONCE):
            part = sent[first : first + _AT_ONCE]
            ids += super().push_messages(part)
            ring(self._folder, (message.metadata.dst_node_id for message in part))
        return ids
