"""Send messages and yield the replies as they arrive."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import Protocol, runtime_checkable

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from hedgerow.types.costs import Spent

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


@runtime_checkable
class KeepsTime(Protocol):
    """A grid on which time is simulated; a reply arrives when the clock says so, and nobody waits."""

    def now(self) -> float:
        """Seconds since the start of the run."""

    def kept(self) -> Mapping[str, float]:
        """What `resume` needs to continue from here."""

    def resume(self, kept: Mapping[str, float]) -> None:
        """Continue from what an earlier grid has `kept`."""

    def spent(self) -> Spent:
        """What everything since the last call has taken and cost."""

    def node(self, client: str) -> int:
        """Node id of a client, available or not."""

    def begins(self, client: str) -> float:
        """When a client would begin with a message that is sent now."""

    def push_at(self, messages: Iterable[Message], moment: float) -> list[str]:
        """Send messages with which their clients begin at a moment, which may be past."""

    def replies_by(self, deadline: float, message_ids: Sequence[str]) -> Iterator[Message]:
        """Replies to messages in the order of their arrival, none after the deadline."""

    def forget(self, message_ids: Iterable[str]) -> None:
        """Wait no longer for these messages."""


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
    now = grid.now if isinstance(grid, KeepsTime) else time.monotonic
    deadline = now() + (inf if timeout is None else timeout)
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
    try:
        while waiting and now() < deadline:
            before = len(waiting)
            for reply in _arriving(grid, list(waiting), deadline):
                message = waiting.pop(reply.metadata.reply_to_message_id, None)
                if message is None:
                    continue
                node = message.metadata.dst_node_id
                if isinstance(grid, Repeats) and (repeated := grid.again(message, reply)):
                    waiting[repeated] = message
                elif (other := again(node, reply)) is not None:
                    send([other])
                    if isinstance(grid, KeepsTime):
                        break  # its answer may arrive before what else is on its way
                else:
                    yield node, reply
            # Flower's grids are polled: often while replies arrive, seldom while none do.
            pause = _PAUSE if len(waiting) < before else min(1.5 * pause, _LONGEST_PAUSE)
            if waiting and not isinstance(grid, KeepsTime):
                time.sleep(pause)
    finally:
        if isinstance(grid, KeepsTime):
            grid.forget(waiting)
    yield from ((node, None) for node in (*(m.metadata.dst_node_id for m in waiting.values()), *lost))


def _arriving(grid: Grid, message_ids: Sequence[str], deadline: float) -> Iterable[Message]:
    return (
        grid.replies_by(deadline, message_ids)
        if isinstance(grid, KeepsTime)
        else grid.pull_messages(message_ids)
    )
