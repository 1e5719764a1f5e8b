"""Count the messages and replies that pass through a grid."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from flwr.app import Message


@dataclass
class MessageCounts:
    """What has passed through a grid so far.

    Attributes:
        sent: number of messages to clients.
        answered: number of replies, with or without an error.
        failed: number of replies with an error, by the client's partition; -1 for a node that does not exist.
        reasons: the first error of each client.
        round: the server's own number of its round, None if it gives none.
        round_began: when that round's first message was sent, in seconds after the run's first.
        seconds: from the first message to the latest reply.
    """

    sent: int = 0
    answered: int = 0
    failed: Counter[int] = field(default_factory=Counter)
    reasons: dict[int, str] = field(default_factory=dict)
    round: int | None = None
    round_began: float = 0.0
    seconds: float = 0.0

    @property
    def clients_per_second(self) -> float:
        """Replies per second, from the first message to the latest reply."""
        return self.answered / self.seconds if self.seconds else 0.0


@final
class MessageCounter:
    """Counts messages, and keeps track of those not answered yet.

    Args:
        nodes: returns the node ids, in the order of their partitions.
        counts: the counts to update.
        on_change: called with the counts after each push and each reply.
    """

    def __init__(
        self,
        nodes: Callable[[], Sequence[int]],
        counts: MessageCounts,
        on_change: Callable[[MessageCounts], None],
    ) -> None:
        self._nodes = nodes
        self._counts = counts
        self._on_change = on_change
        self._waiting: dict[str, int] = {}
        self._began: float | None = None

    @property
    def waiting(self) -> Mapping[str, int]:
        """The node of each unanswered message, in the order in which they were sent."""
        return self._waiting

    def sending(self, messages: Sequence[Message]) -> None:
        """Count messages that are about to be sent."""
        now = time.monotonic()
        if self._began is None:
            self._began = now
        round_ = _round(messages[0]) if messages else None
        if round_ is not None and round_ != self._counts.round:
            self._counts.round, self._counts.round_began = round_, now - self._began
        self._counts.sent += len(messages)
        self._on_change(self._counts)

    def sent(self, messages: Iterable[Message]) -> None:
        """Register the same messages, now that the grid has given them their ids."""
        self._waiting |= {m.metadata.message_id: m.metadata.dst_node_id for m in messages}

    def answered(self, reply: Message) -> None:
        """Count a reply that arrived, unless it was counted before."""
        node = self._waiting.pop(reply.metadata.reply_to_message_id, None)
        if node is None:
            return
        counts = self._counts
        counts.answered += 1
        counts.seconds = time.monotonic() - (self._began or 0.0)
        if reply.has_error():
            nodes = self._nodes()
            client = nodes.index(node) if node in nodes else -1
            counts.failed[client] += 1
            counts.reasons.setdefault(client, str(reply.error.reason))
        self._on_change(counts)


def _round(message: Message) -> int | None:
    """The round number that Flower's strategies send to clients, or that its older API uses as group id."""
    for record in message.content.config_records.values():
        told = record.get("server-round")
        if isinstance(told, int):
            return told
    group = message.metadata.group_id
    return int(group) if group.isdecimal() else None
