"""A grid between server and clients on which some replies come late, and messages are looked at."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid

from hedgerow.simulation.clients import FIRST_NODE_ID
from hedgerow.simulation.grid import InProcessGrid


class SlowGrid(Grid):
    """Holds back the first `late[name]` replies of a client to train, and hands them out later.

    `sent` has all messages that were sent: `(name, type, content)`.
    """

    def __init__(self, inner: InProcessGrid, names: Iterable[str], late: Mapping[str, int] | None) -> None:
        self._inner, self._late = inner, Counter(late or {})
        self._held: dict[str, Message] = {}
        self._names = {FIRST_NODE_ID + place: name for place, name in enumerate(names)}
        self.sent: list[tuple[str, str, Any]] = []

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        messages = list(messages)
        for message in messages:
            about = message.metadata
            self.sent.append((self._names[about.dst_node_id], about.message_type, message.content))
        return self._inner.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        wanted = set(message_ids)
        for message_id in set(self._held) - wanted:
            yield self._held.pop(message_id)  # nobody asks for it any more
        for reply in self._inner.pull_messages(wanted - set(self._held)):
            name = self._names[reply.metadata.src_node_id]
            if reply.metadata.message_type.startswith("train") and self._late[name] > 0:
                self._late[name] -= 1
                self._held[reply.metadata.reply_to_message_id] = reply
            else:
                yield reply

    def get_node_ids(self) -> Iterable[int]:
        return self._names

    def set_run(self, *arguments: Any) -> None:
        self._inner.set_run(*arguments)

    @property
    def run(self) -> Any:
        return self._inner.run

    def create_message(self, *arguments: Any, **others: Any) -> Message:
        return self._inner.create_message(*arguments, **others)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Any:
        return self._inner.send_and_receive(messages, timeout=timeout)
