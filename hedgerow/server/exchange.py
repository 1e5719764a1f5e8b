"""Send messages and yield the replies as they arrive."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

_FIRST_PAUSE, _PAUSE, _LONGEST_PAUSE = 0.005, 0.05, 0.25


@runtime_checkable
class Instructs(Protocol):
    """A grid that makes its own messages, as the simulation's can.

    Flower's `Message(...)` takes sender and run from a process-wide identity; such
    a grid needs none, so several can be used at the same time.
    """

    def instruction(self, content: RecordDict, node: int, message_type: str, group_id: str = "") -> Message:
        """A message to a node."""


@runtime_checkable
class Repeats(Protocol):
    """A grid that can send a message in another form if its receiver did not understand it."""

    def again(self, message: Message, reply: Message) -> str:
        """Send a message again if its reply asks for that; returns the new id, or an empty string."""


@runtime_checkable
class Fetches(Protocol):
    """A grid that knows what clients have fetched beside their messages."""

    def fetched(self) -> Mapping[str, int]:
        """`{client: bytes}` since `saved` was last called."""

    def saved(self) -> None:
        """What `fetched` has returned is in the run's ledger now."""


def instruction(
    grid: Grid,
    content: RecordDict,
    node: int,
    message_type: str,
    group_id: str = "",
    timeout: float | None = None,
) -> Message:
    """A message to a node, made by the grid or by Flower; Flower's is not delivered after the timeout."""
    if isinstance(grid, Instructs):
        return grid.instruction(content, node, message_type, group_id)
    return Message(content, dst_node_id=node, message_type=message_type, group_id=group_id, ttl=timeout)


def exchange(
    grid: Grid,
    messages: Sequence[Message],
    timeout: float | None,
    again: Callable[[int, Message], Message | None] = lambda node, reply: None,
) -> Iterator[tuple[int, Message | None]]:
    """Yield `(node id, reply)` for each message, in order of arrival.

    Nodes that have not replied `timeout` seconds after the messages were sent are
    yielded last, with `None`; later replies are ignored. Only one reply is held
    at a time, if the grid returns them one by one. If `again(node, reply)`
    returns another message for the node, the answer to that replaces the reply.
    """
    started = time.monotonic()
    waiting: dict[str, Message] = {}
    lost: list[int] = []

    def send(messages: Sequence[Message]) -> None:
        for message_id, message in zip(grid.push_messages(messages), messages, strict=True):
            if message_id:
                waiting[message_id] = message
            else:
                lost.append(message.metadata.dst_node_id)

    send(messages)
    pause = _FIRST_PAUSE
    while waiting and (timeout is None or time.monotonic() - started < timeout):
        before, further = len(waiting), []
        for reply in grid.pull_messages(list(waiting)):
            message = waiting.pop(reply.metadata.reply_to_message_id, None)
            if message is None:
                continue
            node = message.metadata.dst_node_id
            if isinstance(grid, Repeats) and (repeated := grid.again(message, reply)):
                waiting[repeated] = message
            elif (other := again(node, reply)) is not None:
                further.append(other)
            else:
                yield node, reply
        # Flower's grids are polled: often while replies arrive, seldom while none do.
        pause = _PAUSE if len(waiting) < before else min(1.5 * pause, _LONGEST_PAUSE)
        if further:
            send(further)
        if waiting:
            time.sleep(pause)
    yield from ((node, None) for node in (*(m.metadata.dst_node_id for m in waiting.values()), *lost))
