"""The messages pushed to a grid, and their replies, which clients compute when they are reached."""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from typing import final

from flwr.app import Message, RecordDict

from hedgerow.simulation import flower
from hedgerow.simulation.clients import Clients, copied, keep
from hedgerow.simulation.dispatcher import Workers
from hedgerow.simulation.replies import Replies
from hedgerow.spans import CLIENTS, span


@final
class Mailbox:
    """The messages that a grid was given, until they are answered.

    `InProcessGrid` documents what the methods guarantee.

    Args:
        clients: the clients that answer.
        states: states of the clients that have one, by node; kept up to date.
        workers: run the clients; `None` if this process does.
    """

    def __init__(
        self, clients: Clients, states: MutableMapping[int, RecordDict], workers: Workers | None
    ) -> None:
        self.run_id = clients.run_id
        self._clients, self._states, self._workers = clients, states, workers
        self._pending: dict[str, Message] = {}
        self._numbers = itertools.count(1)

    def push(self, messages: Iterable[Message]) -> list[str]:
        """Accept messages, with copies of their records; returns their ids, in order."""
        taken: list[Message] = []
        # A server often sends one record to many nodes, so it is copied only once.
        copies: dict[int, RecordDict] = {}
        kept: list[RecordDict] = []
        for message in messages:
            if message.metadata.reply_to_message_id or not message.has_content() or message.metadata.ttl <= 0:
                raise ValueError(
                    f"cannot send {message.metadata}; an instruction answers no message, "
                    "has a content, and has a time to live above 0"
                )
            if id(message.content) not in copies:
                kept.append(message.content)  # so that its id is not given to another record
                copies[id(message.content)] = copied(message.content)
            flower.set_message_id(message, self._new_id())
            taken.append(flower.with_content(message, copies[id(message.content)]))
        self._pending.update((message.metadata.message_id, message) for message in taken)
        return [message.metadata.message_id for message in taken]

    def pull(self, message_ids: Iterable[str]) -> Replies:
        """The replies to these messages, each computed when it is reached."""
        wanted = list(message_ids)
        return Replies(wanted, self._reply if self._workers is None else self._ahead(wanted, self._workers))

    def send_and_receive(self, messages: Iterable[Message], timeout: float | None) -> list[Message]:
        """Push messages and collect, in order, the replies of those started within `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        ids = self.push(messages)
        reply = self._reply if self._workers is None else self._ahead(ids, self._workers, deadline)
        replies = []
        for message_id in ids:
            started = self._workers is not None and message_id in self._workers.in_hand()
            if started or deadline is None or time.monotonic() < deadline:
                replies.append(reply(message_id))
        return replies

    def replies_by(self, deadline: float, message_ids: Sequence[str]) -> Iterator[Message]:
        """Replies to these messages as they arrive; none is awaited beyond `deadline`."""
        workers, upcoming, out = self._workers, deque(message_ids), set[str]()
        while (upcoming or out) and time.monotonic() < deadline:
            while workers and upcoming and len(workers.unanswered()) < 4 * workers.number:
                message = self._pending.get(upcoming[0])
                if message is None or flower.is_expired(message) or not self._is_there(message):
                    break  # its reply is an error that needs no worker
                workers.submit(message)
                out.add(upcoming.popleft())
            if workers and out:
                there = workers.answered(out)
                out -= there
                if time.monotonic() < deadline:
                    for message_id in there:
                        yield self._answered(message_id, lambda m: workers.take(m.metadata.message_id))
            elif upcoming:
                yield self._reply(upcoming.popleft())

    def discard(self, message_ids: Iterable[str]) -> None:
        """Forget messages that nobody will pull."""
        for message_id in message_ids:
            self._pending.pop(message_id, None)

    def _reply(self, message_id: str) -> Message:
        return self._answered(message_id, self._run_client)

    def _ahead(
        self, message_ids: Sequence[str], workers: Workers, deadline: float | None = None
    ) -> Callable[[str], Message]:
        """A function that returns the replies in order, while workers already compute the next ones."""
        upcoming = iter(message_ids)

        def run(message: Message) -> Message:
            workers.submit(message)
            return workers.take(message.metadata.message_id)

        def reply(message_id: str) -> Message:
            # Enough to keep the workers busy, and few enough to hold their replies in memory.
            while len(workers.in_hand()) < 4 * workers.number:
                following = next(upcoming, None)
                if following is None or (deadline is not None and time.monotonic() >= deadline):
                    break
                message = self._pending.get(following)
                if message is not None and not flower.is_expired(message) and self._is_there(message):
                    workers.submit(message)
            return self._answered(message_id, run)

        return reply

    def _answered(self, message_id: str, run: Callable[[Message], Message]) -> Message:
        message = self._pending.get(message_id)
        if message is None or flower.is_expired(message):
            reply = flower.message_unavailable(message_id, self.run_id)
        elif not self._is_there(message):
            reply = flower.node_unavailable(message)
        else:
            reply = run(message)
            if flower.is_expired(message):
                reply = flower.message_unavailable(message_id, self.run_id)
        self._pending.pop(message_id, None)
        flower.set_message_id(reply, self._new_id())
        return reply

    def _is_there(self, message: Message) -> bool:
        return message.metadata.dst_node_id in self._clients.node_ids

    def _run_client(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        with span(CLIENTS):
            reply, state = self._clients.answer(message, self._states.get(node, RecordDict()))
        keep(self._states, node, copied(state))
        # Flower sends copies, on Ray and in a federation, so a client may keep
        # and change its reply and its state afterwards.
        return flower.with_content(reply, copied(reply.content)) if reply.has_content() else reply

    def _new_id(self) -> str:
        return f"message-{next(self._numbers)}"
