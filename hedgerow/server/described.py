"""A grid whose messages say of which run they are, for devices that run no code of the server's."""

from collections.abc import Iterable
from typing import final

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from hedgerow.grids import GridAround
from hedgerow.recipe.announcement import RECORD, UNKNOWN, Announcement
from hedgerow.records import filled


@final
class DescribedGrid(GridAround):
    """Puts `hedgerow.description` into every message, whole where its receiver may not know it.

    A device that answers that it does not know the description gets the same message once more, with
    all of it, from `server.exchange`. Flower's own nodes pass the record over.

    Args:
        grid: where the clients are.
        announcement: of the run.
    """

    def __init__(self, grid: Grid, announcement: Announcement) -> None:
        super().__init__(grid)
        self._whole = filled(ConfigRecord(), announcement.whole())
        self._short = filled(ConfigRecord(), announcement.short())

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send messages, each with what it says of the run; their ids, in order."""
        return self._push(list(messages))

    def again(self, message: Message, reply: Message) -> str:
        """Send a message anew, with the whole description, if that is what its receiver asks for.

        Returns:
            The new message's id; empty where it does not ask, or was sent the whole already.
        """
        asks = reply.has_error() and (reply.error.reason or "").startswith(UNKNOWN)
        if not asks or "json" in message.content[RECORD]:
            return ""
        return self._push([message], whole=True)[0]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Not used here: `server.exchange` takes the replies one by one."""
        raise NotImplementedError("take the replies as they come, with server.exchange")

    def _push(self, messages: list[Message], *, whole: bool = False) -> list[str]:
        for message in messages:
            queried = message.metadata.message_type == "query"
            record = self._whole if whole or queried else self._short
            # A content is shared by the messages of a cohort, and measured without this record.
            message.content = filled(RecordDict(), {**message.content, RECORD: record})
        return list(self._grid.push_messages(messages))
