"""Grids for Flower apps: they count messages, and the order of nodes and replies is deterministic."""

import time
from abc import ABC
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import islice
from threading import RLock
from typing import final

from flwr.app import Message
from flwr.serverapp import Grid

from hedgerow.generators import undisturbed
from hedgerow.grids import GridAround
from hedgerow.simulation.flower_app.counts import MessageCounter, MessageCounts
from hedgerow.simulation.grid import InProcessGrid


class _Ordered(GridAround, ABC):
    """Wraps a grid, with its nodes in the order of their partitions.

    Args:
        grid: the one that does the work.
        nodes: returns its node ids, in the order of their partitions. On Ray they appear after the server.
        counts: the counts to update.
        on_change: called with the counts after each push and each reply.
    """

    def __init__(
        self,
        grid: Grid,
        nodes: Callable[[], Sequence[int]],
        counts: MessageCounts,
        on_change: Callable[[MessageCounts], None],
    ) -> None:
        super().__init__(grid)
        self._nodes = nodes
        self._counter = MessageCounter(nodes, counts, on_change)
        self._lock = RLock()

    @final
    def get_node_ids(self) -> Sequence[int]:
        """Ids of all nodes, in the order of their partitions."""
        return self._nodes()

    @final
    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send messages; returns their ids, in order."""
        messages = list(messages)
        with self._lock:
            self._before({message.metadata.dst_node_id for message in messages})
            ids = list(self._grid.push_messages(messages))
            self._counter.sending(messages)
            self._counter.sent(messages)
        return ids

    def _before(self, nodes: AbstractSet[int]) -> None:
        """Hook for what must happen before these nodes get another message."""


@final
class AppGrid(_Ordered):
    """A grid whose clients run when their replies are pulled, for apps written for Flower's own grids.

    Guarantees:
        - A client gets its messages in the order in which they were sent, including
          those whose replies nobody asks for; at the end, `finish` runs the rest.
        - Replies that are requested with a set of ids come in the order of their
          messages.
        - What several threads send at the same time is sent together, to keep all
          workers busy: Flower's older API has one thread per client.
    """

    def __init__(
        self,
        grid: InProcessGrid,
        nodes: Callable[[], Sequence[int]],
        counts: MessageCounts,
        on_change: Callable[[MessageCounts], None],
    ) -> None:
        super().__init__(grid, nodes, counts, on_change)
        self._grid: InProcessGrid = grid
        self._ahead: dict[str, Message] = {}
        self._queue: deque[_Request] = deque()

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Replies to these messages, each computed when it is reached."""
        ids = list(message_ids)
        if isinstance(message_ids, AbstractSet):
            place = {message_id: i for i, message_id in enumerate(self._counter.waiting)}
            ids.sort(key=lambda message_id: place.get(message_id, -1))
        ahead = {message_id: self._ahead.pop(message_id) for message_id in ids if message_id in self._ahead}
        coming = self._grid.pull_messages([message_id for message_id in ids if message_id not in ahead])
        return _Replies(ids, ahead, coming, self._counter.answered)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send messages and collect the replies that arrive within `timeout` seconds, in order.

        No client is started after that, but later replies can still be pulled.
        """
        if timeout is not None:
            with self._lock:
                return self._answer_by(time.monotonic() + timeout, list(messages))
        request = _Request(list(messages))
        self._queue.append(request)
        with self._lock:
            if not request.done:  # otherwise another thread has answered this request too
                self._answer([self._queue.popleft() for _ in range(len(self._queue))])
        if request.error is not None:
            raise request.error
        return request.replies

    def _answer_by(self, deadline: float, messages: Sequence[Message]) -> list[Message]:
        ids = self.push_messages(messages)
        replies: dict[str, Message] = {}
        for reply in self._grid.replies_by(deadline, ids):
            self._counter.answered(reply)
            in_time = replies if time.monotonic() < deadline else self._ahead
            in_time[reply.metadata.reply_to_message_id] = reply
        return [replies[message_id] for message_id in ids if message_id in replies]

    def _answer(self, requests: Sequence["_Request"]) -> None:
        try:
            ids = self.push_messages(message for request in requests for message in request.messages)
            coming = iter(self.pull_messages(ids))
            for request in requests:
                request.replies.extend(islice(coming, len(request.messages)))
        except BaseException as error:
            for request in requests:
                request.error = error
            raise
        finally:
            for request in requests:
                request.done = True

    def finish(self) -> None:
        """Run the clients of all messages whose replies nobody has asked for."""
        self._before(set(self._counter.waiting.values()))

    def _before(self, nodes: AbstractSet[int]) -> None:
        ids = [message_id for message_id, node in self._counter.waiting.items() if node in nodes]
        for reply in self._grid.pull_messages(ids) if ids else ():
            self._counter.answered(reply)
            self._ahead[reply.metadata.reply_to_message_id] = reply


@final
class RayGrid(_Ordered):
    """Wraps Flower's in-memory grid, and returns replies in the order of their messages.

    What Ray draws from global generators meanwhile does not affect the server's next draws.
    """

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The replies that have arrived."""
        replies = list(self._grid.pull_messages(message_ids))
        for reply in replies:
            self._counter.answered(reply)
        return replies

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send messages, and wait for the replies, in order."""
        messages = list(messages)
        with self._lock:
            self._counter.sending(messages)
        with undisturbed():  # starting Ray draws from `random`, and the server samples with it
            replies = list(self._grid.send_and_receive(messages, timeout=timeout))
        with self._lock:
            self._counter.sent(messages)
            for reply in replies:
                self._counter.answered(reply)
        place = {message.metadata.message_id: i for i, message in enumerate(messages)}
        return sorted(replies, key=lambda reply: place[reply.metadata.reply_to_message_id])


@dataclass
class _Request:
    messages: list[Message]
    replies: list[Message] = field(default_factory=list)
    error: BaseException | None = None
    done: bool = False


@final
class _Replies(Iterable[Message]):
    """Replies in the order of their ids: those computed ahead, and the others as they arrive."""

    def __init__(
        self,
        ids: Collection[str],
        ahead: Mapping[str, Message],
        coming: Iterable[Message],
        count: Callable[[Message], None],
    ) -> None:
        self._ids = ids
        self._ahead = ahead
        self._coming = coming
        self._count = count

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[Message]:
        coming = iter(self._coming)
        for message_id in self._ids:
            reply = self._ahead.get(message_id)
            if reply is None:
                reply = next(coming)
                self._count(reply)
            yield reply
            del reply
