"""Send messages and take the replies as they arrive."""

import time
from collections.abc import Iterator, Sequence
from typing import Protocol, final, runtime_checkable

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.25


@runtime_checkable
class Instructs(Protocol):
    """A grid that makes its own messages, as the simulation's can.

    Flower's `Message(...)` takes sender and run from an identity that the whole
    process has; such a grid needs none, so that several can be used at a time.
    """

    def instruction(self, content: RecordDict, node: int, message_type: str, group_id: str = "") -> Message:
        """A message to a node."""


@runtime_checkable
class Explains(Protocol):
    """A grid whose nodes may have to be told again what the run is, as a federation's devices do."""

    def explanation(self, reply: Message) -> Message | None:
        """What a node has to be sent before it can answer the message that this reply is to; or nothing."""


def instruction(
    grid: Grid,
    content: RecordDict,
    node: int,
    message_type: str,
    group_id: str = "",
    timeout: float | None = None,
) -> Message:
    """A message to a node, as the grid makes it, or Flower; that one is not delivered after the timeout."""
    if isinstance(grid, Instructs):
        return grid.instruction(content, node, message_type, group_id)
    return Message(content, dst_node_id=node, message_type=message_type, group_id=group_id, ttl=timeout)


def exchange(
    grid: Grid, messages: Sequence[Message], timeout: float | None
) -> Iterator[tuple[int, Message | None]]:
    """Yield `(node id, reply)` for each message, in order of arrival.

    A node that has not replied `timeout` seconds after the messages were sent
    is yielded last, with `None`; what it sends later is not looked at. Only one
    reply is held at a time, where the grid hands them out one by one.
    """
    started = time.monotonic()
    sent = _Sent(grid, messages)
    pause = _FIRST_PAUSE
    while sent.waiting and (timeout is None or time.monotonic() - started < timeout):
        before = len(sent.waiting)
        for reply in grid.pull_messages(list(sent.waiting)):
            message = sent.answered(reply)
            if message is not None:
                yield message.metadata.dst_node_id, reply
        # Flower's grids are polled: often while replies come in, seldom while they do not.
        pause = _FIRST_PAUSE if len(sent.waiting) < before else min(2 * pause, _LONGEST_PAUSE)
        if sent.waiting:
            time.sleep(pause)
    yield from ((node, None) for node in sent.silent())


@final
class _Sent:
    """Messages that are under way, and those that have to wait for an explanation."""

    def __init__(self, grid: Grid, messages: Sequence[Message]) -> None:
        self._grid, self._messages = grid, messages
        self._told: set[int] = set()
        self._again: dict[str, Message] = {}
        self._done: set[int] = set()
        self.waiting: dict[str, Message] = {}
        for message_id, message in zip(grid.push_messages(messages), messages, strict=True):
            if message_id:
                self.waiting[message_id] = message

    def answered(self, reply: Message) -> Message | None:
        """The message that this is the answer to; `None` where the node is asked again, or nobody asked."""
        asked = self.waiting.pop(reply.metadata.reply_to_message_id, None)
        if asked is None:
            return None
        if (original := self._again.pop(reply.metadata.reply_to_message_id, None)) is not None:
            self._send(_copy(original), None)
            return None
        node = asked.metadata.dst_node_id
        if isinstance(self._grid, Explains) and node not in self._told:
            explanation = self._grid.explanation(reply)
            if explanation is not None:
                self._told.add(node)
                self._send(explanation, asked)
                return None
        self._done.add(node)
        return asked

    def silent(self) -> list[int]:
        """Nodes that have not answered, in the order of their messages."""
        nodes = [message.metadata.dst_node_id for message in self._messages]
        return [node for node in nodes if node not in self._done]

    def _send(self, message: Message, then: Message | None) -> None:
        for message_id in self._grid.push_messages([message]):
            if message_id:
                self.waiting[message_id] = message
                if then is not None:
                    self._again[message_id] = then


def _copy(message: Message) -> Message:
    about = message.metadata
    return Message(
        message.content, dst_node_id=about.dst_node_id, message_type=about.message_type,
        group_id=about.group_id, ttl=about.ttl,
    )  # fmt: skip
