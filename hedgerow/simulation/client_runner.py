"""What a worker is asked and answers, and how it does it: in a process, or in an actor of a cluster."""

import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, final

from flwr.app import Message, RecordDict

from hedgerow import spans
from hedgerow.simulation.clients import Clients, Request

TOGETHER, IDLE, UNKNOWN = -1, -2, -3
"""In place of the position of the client that runs: several do, none does, or one that is not known."""


class Collector(Protocol):
    """Counts replies in; what it has `collected` is small and goes back to the server."""

    collected: Any

    def add(self, client: str, reply: Message | None) -> None:
        """Count a client's reply in; never raises for what is in it."""


Start: TypeAlias = Callable[..., Collector]


@dataclass(frozen=True)
class Round:
    """What a worker is told once in a round.

    Attributes:
        arguments: for `start`, which makes its collector.
        request: what its clients are sent.
        recording: whether spans of its work are wanted.
        start: makes the round's collector, where the worker was not made for that.
    """

    arguments: tuple[Any, ...]
    request: Request
    recording: bool
    start: Start | None = None


@dataclass(frozen=True)
class Block:
    """Clients to run: their names, nodes, and the states of those that have one.

    Attributes:
        together: they run at once; else one after another.
        last: of its worker in this round: what that collected is asked for with it.
    """

    names: tuple[str, ...]
    nodes: tuple[int, ...]
    states: dict[int, RecordDict]
    together: bool = False
    last: bool = False


@dataclass(frozen=True)
class Single:
    """One message, to be answered with a reply."""

    message: Message
    state: RecordDict
    recording: bool


@dataclass(frozen=True)
class Finish:
    """Ask for what was collected."""


@dataclass(frozen=True)
class Merge:
    """Add what another worker collected, which then has it no longer.

    Attributes:
        other: that worker, as its pool knows it.
        blocks: what it had done.
        states: what that had changed.
    """

    other: Any
    blocks: tuple[Block, ...]
    states: dict[int, RecordDict]


Task: TypeAlias = Single | Block | Finish | Merge


@dataclass(frozen=True)
class Ready:
    """The worker has started."""


@dataclass(frozen=True)
class Done:
    """A block is counted in; `states` has those that changed."""

    states: dict[int, RecordDict]


@dataclass(frozen=True)
class Answered:
    """The reply to a message; `state` is `None` where it did not change. And the spans of the work."""

    reply: Message
    state: RecordDict | None
    spans: list[spans.Span]


@dataclass(frozen=True)
class Merged:
    """Whether what another worker collected was added; `False` where it could not be had."""

    whole: bool


@dataclass(frozen=True)
class Summed:
    """What was collected since it was last asked for, as the pool can read it; and the spans of the work.

    With a last block, `states` has those that it changed.
    """

    parcel: Any
    spans: list[spans.Span]
    states: dict[int, RecordDict] = field(default_factory=dict)


@dataclass(frozen=True)
class Exhausted:
    """The worker ends: a client ran out of memory."""


@dataclass(frozen=True)
class Lost:
    """A worker is gone.

    Attributes:
        why: in words.
        position: of the client in the block that ran, or no position in it.
        hung: it was ended, because it took too long, and that is its own doing.
        blameless: nothing that it ran is to blame.
    """

    why: str
    position: int
    hung: bool = False
    blameless: bool = False


Outcome: TypeAlias = Answered | Done | Merged | Summed | Lost


@final
class Runner:
    """Runs clients, and counts in what they reply.

    Args:
        clients: to run.
        start: makes collectors.
        at: is told the position of the client that runs, or `TOGETHER`, or
            `IDLE`; and whether clients have left threads behind.
    """

    def __init__(self, clients: Clients, start: Start | None, at: Callable[[int, bool], None]) -> None:
        self._clients, self._start, self._at = clients, start, at
        self._threads = threading.active_count()
        self._round: Round | None = None
        self._collector: Collector | None = None
        self._spans: list[spans.Span] = []

    def receive(self, told: bytes | memoryview) -> None:
        """Begin a round: a `Round`, pickled."""
        self._round, self._collector = pickle.loads(told), None

    def single(self, order: Single) -> Answered:
        """Answer a message."""
        self._at(0, self._crowded())
        with self._recorded(order.recording), spans.span(spans.CLIENTS):
            reply, state = self._clients.answer(order.message, order.state)
        self._at(IDLE, self._crowded())
        return Answered(reply, None if state == order.state else state, self._taken())

    def block(self, order: Block) -> Done:
        """Run clients of the round, and count in what they reply."""
        assert self._round is not None
        with self._recorded(self._round.recording), spans.span(spans.CLIENTS):
            return self._block(order, self._round)

    def merge(self, collected: Any, done: list[spans.Span]) -> None:
        """Add what another worker collected."""
        assert self._collector is not None
        self._collector.collected.merge(collected)
        self._spans += done

    def finish(self, pack: Callable[[Any], Any]) -> tuple[Any, list[spans.Span]]:
        """Give away what was collected, as `pack` makes it fit to be sent, and the spans of the work."""
        assert self._collector is not None
        assert self._round is not None
        with self._recorded(self._round.recording), spans.span("records"):
            parcel = pack(self._collector.collected)
        self._collector = None
        return parcel, self._taken()

    def _block(self, order: Block, told: Round) -> Done:
        if self._collector is None:
            start = told.start or self._start
            assert start is not None
            self._collector = start(*told.arguments)
        self._at(TOGETHER if order.together else 0, self._crowded())
        changed = {}
        for place, reply, state in self._clients.answer_each(told.request, order.nodes, order.states):
            self._collector.add(order.names[place], reply)
            if (state or order.states) and state != order.states.get(order.nodes[place], {}):
                changed[order.nodes[place]] = state
            if not order.together:
                self._at(place + 1, self._crowded())
        self._at(IDLE, self._crowded())
        return Done(changed)

    @contextmanager
    def _recorded(self, wanted: bool) -> Iterator[None]:
        if not wanted:
            yield
            return
        with spans.record() as found:
            yield
        self._spans += found

    def _taken(self) -> list[spans.Span]:
        done, self._spans = self._spans, []
        return done

    def _crowded(self) -> bool:
        return threading.active_count() > self._threads
