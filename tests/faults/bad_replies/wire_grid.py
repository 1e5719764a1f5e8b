"""A grid whose replies come as the objects that devices send, read as Flower's own grid reads them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from flwr.app import Error, Message
from flwr.app.message import make_message
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from hedgerow.records import from_flower, to_flower
from hedgerow.server.inflating import read
from hedgerow.simulation.clients import FIRST_NODE_ID
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.wire.content import Content

LARGEST = 2**20


@dataclass
class Reply:
    """What one device is about to send.

    Attributes:
        content: of its honest reply, to be changed.
        before: what it sent in the round before; the same as `content` in the first.
        others: contents of the round's other replies.
        error: it sends this in place of a content.
        objects: changes the objects; gets `{id: bytes}` and the id of the message.
        copies: how often it sends it; none is late.
    """

    content: dict[str, Any]
    before: Content
    others: list[Content]
    error: str = ""
    objects: Callable[[dict[str, bytes], str], None] | None = None
    copies: int = 1


@dataclass
class WireGrid(Grid):
    """Around a grid in this process; `edit` changes what one client answers to `train`."""

    inner: InProcessGrid
    names: tuple[str, ...]
    liar: str
    edit: Callable[[Reply], None]
    _sent: dict[str, Content] = field(default_factory=dict)
    _late: list[Message] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return self.inner.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        wanted = set(message_ids)
        # To messages of earlier rounds: nobody asks for them any more.
        yield from (reply for reply in self._late if reply.metadata.reply_to_message_id not in wanted)
        replies = list(self.inner.pull_messages(wanted - self._taken))
        self._taken |= {reply.metadata.reply_to_message_id for reply in replies}
        for reply in replies:
            name = self.names[reply.metadata.src_node_id - FIRST_NODE_ID]
            if name != self.liar or reply.metadata.message_type != "train" or reply.has_error():
                yield over_the_wire(reply)
                continue
            honest = from_flower(reply.content)
            others = [from_flower(r.content) for r in replies if r is not reply and r.has_content()]
            sent = Reply(dict(honest), self._sent.get(name, honest), others)
            self._sent[name] = honest
            self.edit(sent)
            changed = self._message(reply, sent)
            for _ in range(sent.copies):
                yield over_the_wire(changed, sent.objects)
            if not sent.copies:
                self._late.append(over_the_wire(changed))

    def _message(self, reply: Message, sent: Reply) -> Message:
        if sent.error:
            return make_message(reply.metadata, error=Error(0, sent.error))
        return make_message(reply.metadata, content=to_flower(sent.content))

    def get_node_ids(self) -> Iterable[int]:
        return self.inner.get_node_ids()

    def set_run(self, *arguments: Any) -> None:
        self.inner.set_run(*arguments)

    @property
    def run(self) -> Any:
        return self.inner.run

    def client_names(self) -> tuple[str, ...]:
        return self.names

    def create_message(self, *arguments: Any, **others: Any) -> Message:
        return self.inner.create_message(*arguments, **others)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Any:
        return self.inner.send_and_receive(messages, timeout=timeout)


def over_the_wire(message: Message, edit: Callable[[dict[str, bytes], str], None] | None = None) -> Message:
    """The message, taken apart into objects and put together again."""
    objects = {name: each.deflate() for name, each in get_all_nested_objects(message).items()}
    top = message.object_id
    if edit is not None:
        edit(objects, top)
    found: Message = read(top, objects, inflate=inflate_object_from_contents, largest=LARGEST)
    return found
