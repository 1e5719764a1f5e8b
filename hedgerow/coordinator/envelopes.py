"""The ServerApp's end of messages in their envelopes, see `wire.envelope`: two calls in place of a dozen.

With `superlink.py` this is the file of the room with private Flower names; they have the same contract.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, final

from flwr.app import Message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import PullMessagesResponse
from flwr.proto.message_pb2 import ObjectTree, PullObjectRequest
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PullAppMessagesResponse, PushAppMessagesRequest
from flwr.serverapp import Grid

from hedgerow.grids import GridAround
from hedgerow.recipe.announcement import RECORD
from hedgerow.records import measure
from hedgerow.wire import bundle, envelope

log = logging.getLogger("hedgerow")

_CLIENT_FAILED = 2
"""Flower's code of a client that raises."""

_SESSION_SECONDS = 190.0
"""After which a SuperLink removes what it was promised objects for, if somebody asks: it waits for 180 s."""

_PART = 4.0
"""A look for replies takes a SuperLink long where many are waited for: it is a quarter of the time."""

_LONGEST_SECONDS = 2.0
"""Between two of them: a machine that is busy makes none of them dearer."""


Aside: TypeAlias = Callable[[Callable[[], None]], None]
"""Does some work, perhaps later."""


def in_a_thread(work: Callable[[], None]) -> None:
    """Do some work beside the caller's; it ends with the process."""
    threading.Thread(target=work, daemon=True).start()


@final
@dataclass
class _Sent:
    """Messages that were sent together.

    Attributes:
        absent: the id by which a SuperLink finds them, to remove what it keeps of them.
        ids: of the messages.
        waited_for: those whose answers are waited for.
        done: when the last was answered, or given up; `None` before.
    """

    absent: str
    ids: list[str]
    waited_for: set[str]
    done: float | None = None


@final
class _Replies:
    """The ids that answers are to have: each is one node's, and used again: a SuperLink remembers them.

    They are secret: whoever knew one could put an answer of their own in its place. One is free again once
    the SuperLink no longer has the request, and so takes no more answers to it. As long as it has, an answer
    may lie there, and it would take the answer to another request for that one, sent again.

    >>> replies = _Replies()
    >>> first = replies.of(7)
    >>> replies.asked("a" * 64, 7, first)
    >>> replies.of(7) != first and replies.of(8) != first
    True
    >>> replies.gone("a" * 64)
    >>> replies.of(7) == first
    True
    """

    def __init__(self) -> None:
        self._free, self._asked = dict[int, list[str]](), dict[str, tuple[int, str]]()

    def of(self, node: int) -> str:
        """An id for a node's next answer."""
        free = self._free.get(node)
        return free.pop() if free else envelope.secret_name()

    def asked(self, request: str, node: int, reply: str) -> None:
        """Record that a request with this id names this id for its answer."""
        self._asked[request] = node, reply

    def gone(self, request: str) -> None:
        """Record that the SuperLink no longer has a request; one that is not known is fine."""
        if (known := self._asked.pop(request, None)) is not None:
            node, reply = known
            self._free.setdefault(node, []).append(reply)


@final
class EnvelopeGrid(GridAround):
    """Sends small requests in their envelopes, to nodes that have said that they read them so.

    Args:
        grid: Flower's own, that speaks to a SuperLink.
        hand: is given what each node is to be handed, once the SuperLink has it: `hand(node, answer)`.
        clock: in seconds.
        aside: how the SuperLink's copies of answered messages are removed: that takes it seconds in a large
            federation, in which replies can be read.
    """

    def __init__(
        self,
        grid: Grid,
        hand: Callable[[int, bytes], None] = lambda node, answer: None,
        clock: Callable[[], float] = time.monotonic,
        aside: Aside = in_a_thread,
    ) -> None:
        super().__init__(grid)
        self._hand, self._aside, self._removes = hand, aside, threading.Lock()
        self._clock, self._due = clock, -float("inf")
        self._reading, self._sent, self._replies = set[int](), deque[_Sent](), _Replies()

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send messages; their ids, in order."""
        given = list(messages)
        small = [message for message in given if self._fits(message)]
        ids = dict(zip(map(id, small), self._push(small) if small else (), strict=True))
        others = [message for message in given if id(message) not in ids]
        ids.update(zip(map(id, others), self._grid.push_messages(others) if others else (), strict=True))
        return [ids[id(message)] for message in given]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The replies that have come; none where the last look was just now."""
        asked, began = list(message_ids), self._clock()
        if began < self._due:
            return []
        grid: Any = self._grid
        client = grid._runtime_client
        found = client.PullMessages(PullAppMessagesRequest(message_ids=asked))
        ended = self._clock()
        self._due = ended + min((_PART - 1) * (ended - began), _LONGEST_SECONDS)
        replies, others = [], PullAppMessagesResponse()
        for message, tree in zip(found.messages_list, found.message_object_trees, strict=True):
            if envelope.in_envelope(message.metadata.message_id):
                replies.append(_read(message))
            else:
                others.messages_list.append(message)
                others.message_object_trees.append(tree)
        if others.messages_list:
            grid._client = _HasPulled(client, others)
            try:
                replies += grid.pull_messages(asked)
            finally:
                grid._client = client
        answered = {reply.metadata.reply_to_message_id for reply in replies}
        for reply in replies:
            self._learn(reply)
        for request in answered:
            self._replies.gone(request)
        self._clear(set(asked) - answered)
        return replies

    def _fits(self, message: Message) -> bool:
        """Whether a message goes in its envelope: a bundle, which has one record, and a small one."""
        record = message.content.config_records.get(RECORD)
        data = None if record is None else record.get(bundle.CONTENT)
        if message.metadata.dst_node_id not in self._reading or not isinstance(data, bytes):
            return False
        return len(data) <= envelope.MOST_ASKED and measure(message.content) <= envelope.MOST_ASKED

    def _push(self, messages: list[Message]) -> list[str]:
        absent, envelopes, trees, replies = envelope.secret_name(), [], [], []
        for message in messages:
            replies.append(self._replies.of(message.metadata.dst_node_id))
            message.content.config_records[RECORD][envelope.REPLY] = replies[-1]
            made = message_to_proto(message)
            made.metadata.message_id = envelope.name_of(made.SerializeToString(deterministic=True))
            envelopes.append(made)
            trees.append(ObjectTree(object_id=made.metadata.message_id))
        # The SuperLink knows it before any node does, and so as it is here: without children. Two are no
        # content: a node of an older version says so, and does not wait for one.
        trees[0].children.extend(ObjectTree(object_id=each) for each in (absent, envelope.secret_name()))
        grid: Any = self._grid
        request = PushAppMessagesRequest(messages_list=envelopes, message_object_trees=trees)
        ids = list(grid._runtime_client.PushMessages(request).message_ids)
        for stored, made, tree, reply in zip(ids, envelopes, trees, replies, strict=True):
            node = made.metadata.dst_node_id
            self._replies.asked(made.metadata.message_id, node, reply)
            if stored:
                answer = PullMessagesResponse(messages_list=[made], message_object_trees=[tree])
                self._hand(node, answer.SerializeToString())
            else:
                self._replies.gone(made.metadata.message_id)
        known = list(filter(None, ids))
        self._sent.append(_Sent(absent, known, set(known)))
        return ids

    def _learn(self, reply: Message) -> None:
        node = reply.metadata.src_node_id
        if reply.has_error():
            # Perhaps of an older version by now; one that is not says so again.
            self._reading.discard(node)
        elif (record := reply.content.config_records.get(bundle.NAME)) and envelope.READS in record:
            self._reading.add(node)

    def _clear(self, waited_for: set[str]) -> None:
        """Have the SuperLink remove what it keeps of messages that were answered, or given up, some time ago.

        It removes what it waits for objects of when somebody asks for one of these.
        """
        now = self._clock()
        for sent in self._sent:
            sent.waited_for &= waited_for
            if not sent.waited_for and sent.done is None:
                sent.done = now
        if self._removes.locked():
            return
        old: list[_Sent] = []
        while self._sent and (done := self._sent[0].done) is not None and now > done + _SESSION_SECONDS:
            old.append(self._sent.popleft())
        if old:
            self._aside(partial(self._remove, old))

    def _remove(self, old: Sequence[_Sent]) -> None:
        grid: Any = self._grid
        with self._removes:
            for sent in old:
                request = PullObjectRequest(node=grid.node, object_id=sent.absent)
                request.run_id = grid.run.run_id
                try:
                    kept = grid._runtime_client.PullObject(request).object_found
                except Exception as error:
                    log.warning("the SuperLink keeps %d groups of answered requests: %s", len(old), error)
                    return
                for each in () if kept else sent.ids:
                    self._replies.gone(each)


@final
class _HasPulled:
    """Flower's client of its own grid, which has asked for replies already."""

    def __init__(self, client: Any, found: PullAppMessagesResponse) -> None:
        self._client, self._found = client, found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def PullMessages(self, _: Any) -> PullAppMessagesResponse:
        return self._found


def _read(made: Any) -> Message:
    """The message in an envelope, or an error in its place: bytes from outside end no run."""
    try:
        return message_from_proto(made)
    except Exception as error:
        made.ClearField("content")
        made.error.code = _CLIENT_FAILED
        made.error.reason = f"its reply cannot be read: {type(error).__name__}: {error}"
        return message_from_proto(made)
