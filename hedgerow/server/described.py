"""A grid whose messages describe their run, for devices that run none of the server's code."""

from collections.abc import Iterable
from contextlib import suppress
from typing import final

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from hedgerow.grids import GridAround
from hedgerow.recipe.announcement import RECORD, UNKNOWN, Announcement
from hedgerow.records import filled, from_flower, to_flower
from hedgerow.types import PayloadError
from hedgerow.wire.bundle import CONTENT, MOST, unbundled
from hedgerow.wire.bundle import NAME as BUNDLE
from hedgerow.wire.codec import encode


@final
class DescribedGrid(GridAround):
    """Puts `hedgerow.description` into every message, in full if its receiver may not know it.

    A device that answers that it does not know the description gets the same message again, with the
    full description, from `server.exchange`. Flower's own nodes ignore the record. Nodes that have
    answered with a bundle get their requests bundled too, see `wire.bundle`.

    Args:
        grid: the grid that reaches the clients.
        announcement: of the run.
    """

    def __init__(self, grid: Grid, announcement: Announcement) -> None:
        super().__init__(grid)
        self._whole = filled(ConfigRecord(), announcement.whole())
        self._short = filled(ConfigRecord(), announcement.short())
        self._bundling = set[int]()

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send messages, each with a description of the run; returns their ids, in order."""
        return self._push(list(messages))

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies that have arrived."""
        for reply in self._grid.pull_messages(message_ids):
            if reply.has_content() and BUNDLE in reply.content:
                self._bundling.add(reply.metadata.src_node_id)
                with suppress(PayloadError):  # the reader of the reply reports what is wrong with it
                    reply.content = to_flower(unbundled(from_flower(reply.content)))
            yield reply

    def again(self, message: Message, reply: Message) -> str:
        """Send a message again, with the full description, if its receiver asks for that.

        Returns:
            The new message's id; empty if it does not ask, or was sent the full description already.
        """
        asks = reply.has_error() and (reply.error.reason or "").startswith(UNKNOWN)
        if not asks or "json" in message.content[RECORD]:
            return ""
        return self._push([message], whole=True)[0]

    def _push(self, messages: list[Message], *, whole: bool = False) -> list[str]:
        packed: dict[int, tuple[RecordDict, bytes]] = {}  # a content is shared by the messages of a cohort
        for message in messages:
            queried, content = message.metadata.message_type == "query", message.content
            record = self._whole if whole or queried else self._short
            described = content.config_records.get(RECORD, ConfigRecord())
            if isinstance(before := described.get(CONTENT), bytes):  # a message that is sent again
                message.content = _within(record, before)
                continue
            if message.metadata.dst_node_id in self._bundling:
                if id(content) not in packed:
                    packed[id(content)] = content, _small(content)
                if data := packed[id(content)][1]:
                    message.content = _within(record, data)
                    continue
            # The content's size is measured without this record.
            message.content = filled(RecordDict(), {**content, RECORD: record})
        return list(self._grid.push_messages(messages))


def _within(record: ConfigRecord, data: bytes) -> RecordDict:
    """A request whose whole content is inside the description's record."""
    return filled(RecordDict(), {RECORD: filled(ConfigRecord(), {**record, CONTENT: data})})


def _small(content: RecordDict) -> bytes:
    """The bytes of a content that is small enough for a bundle; empty for larger ones."""
    arrays = (array for record in content.array_records.values() for array in record.values())
    if sum(len(array.data) for array in arrays) > MOST:
        return b""
    data = encode(from_flower(content))
    return data if len(data) <= MOST else b""
