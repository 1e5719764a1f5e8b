"""A worker's tasks and answers, and how it runs clients: in a process, or in an actor of a cluster."""

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
"""Instead of the running client's position: several run, none runs, or it is not known which one runs."""


class Collector(Protocol):
    """Adds replies; what it has `collected` is small and goes back to the server."""

    collected: Any

    def add(self, client: str, reply: Message | None) -> None:
        """Add a client's reply; never raises because of its content."""


Start: TypeAlias = Callable[..., Collector]


@dataclass(frozen=True)
class Round:
    """What a worker is told once per round.

    Attributes:
        arguments: for `start`, which makes its collector.
        request: what its clients are sent.
        recording: whether to record spans of its work.
        start: makes the round's collector, if it differs from the one given at the worker's start.
    """

    arguments: tuple[Any, ...]
    request: Request
    recording: bool
    start: Start | None = None


@dataclass(frozen=True)
class Block:
    """Clients to run: their names, nodes, and the states of those that have one.

    Attributes:
        together: whether they run at once, rather than one after another.
        last: whether it is its worker's last in this round, so that the worker returns what it collected.
    """

    names: tuple[str, ...]
    nodes: tuple[int, ...]
    states: dict[int, RecordDict]
    together: bool = False
    last: bool = False


@dataclass(frozen=True)
class Single:
    """One message to answer with a reply."""

    message: Message
    state: RecordDict
    recording: bool


@dataclass(frozen=True)
class Finish:
    """Ask for what was collected."""


@dataclass(frozen=True)
class Merge:
    """Take over what another worker collected.

    Attributes:
        other: that worker, as its pool knows it.
        blocks: the blocks that it had done.
        states: the states that these had changed.
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
    """A block has been added; `states` holds the states that changed."""

    states: dict[int, RecordDict]


@dataclass(frozen=True)
class Answered:
    """The reply to a message and the spans of the work; `state` is `None` if it did not change."""

    reply: Message
    state: RecordDict | None
    spans: list[spans.Span]


@dataclass(frozen=True)
class Merged:
    """Whether what another worker collected was added; `False` if it was not available."""

    whole: bool


@dataclass(frozen=True)
class Summed:
    """What was collected since the last `Summed`, as the pool can read it, and the spans of the work.

    With a last block, `states` holds the states that it changed.
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
        position: of the running client in the block, or one of the special values above.
        hung: it was stopped because its client took too long, through the client's own fault.
        blameless: nothing that it ran is to blame.
    """

    why: str
    position: int
    hung: bool = False
    blameless: bool = False


Outcome: TypeAlias = Answered | Done | Merged | Summed | Lost


@final
class Runner:
    """Runs clients, and collects their replies.

    Args:
        clients: to run.
        start: makes collectors.
        at: called with the position of the running client, or `TOGETHER`, or
            `IDLE`; and with whether clients have left threads behind.
    """

    def __init__(self, clients: Clients, start: Start | None, at: Callable[[int, bool], None]) -> None:
        self._clients, self._start, self._at = clients, start, at
        self._threads = threading.active_count()
        self._round: Round | None = None
        self._collector: Collector | None = None
        self._spans: list[spans.Span] = []

    def receive(self, told: bytes | memoryview) -> None:
        """Start a round, given as a pickled `Round`."""
        self._round, self._collector = pickle.loads(told), None

    def single(self, order: Single) -> Answered:
        """Answer a message."""
        self._at(0, self._crowded())
        with self._recorded(order.recording), spans.span(spans.CLIENTS):
            reply, state = self._clients.answer(order.message, order.state)
        self._at(IDLE, self._crowded())
        return Answered(reply, None if state == order.state else state, self._taken())

    def block(self, order: Block) -> Done:
        """Run clients of the round, and collect their replies."""
        assert self._round is not None
        with self._recorded(self._round.recording), spans.span(spans.CLIENTS):
            return self._block(order, self._round)

    def merge(self, collected: Any, done: list[spans.Span]) -> None:
        """Add what another worker collected."""
        assert self._collector is not None
        self._collector.collected.merge(collected)
        self._spans += done

    def finish(self, pack: Callable[[Any], Any]) -> tuple[Any, list[spans.Span]]:
        """Hand over what was collected, packed by `pack` for sending, and the spans of the work."""
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
