"""What a worker process does: it runs clients, and counts in what they reply."""

import gc
import logging
import logging.handlers
import mmap
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NoReturn, Protocol, TypeAlias

import numpy as np
from flwr.app import Message, RecordDict

from hedgerow import spans
from hedgerow.simulation.clients import Clients, Request
from hedgerow.simulation.heap import keep_freed_memory
from hedgerow.simulation.limits import OutOfMemory, lift_memory_limit, limit_memory

TOGETHER, IDLE = -1, -2
"""In place of the position of the client that runs: several do, or none does."""

Parcel: TypeAlias = bytes | int


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
    """

    arguments: tuple[Any, ...]
    request: Request
    recording: bool


@dataclass(frozen=True)
class Block:
    """Clients to run: their names, nodes, and the states of those that have one."""

    names: tuple[str, ...]
    nodes: tuple[int, ...]
    states: dict[int, RecordDict]


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
class Summed:
    """What the worker collected since it was last asked, pickled; and the spans of its work."""

    parcel: Parcel
    spans: list[spans.Span]


@dataclass(frozen=True)
class Exhausted:
    """The worker ends: a client ran out of memory."""


class Area:
    """Memory that a process shares with those it forks; 0 bytes of it are none.

    It has no name: nothing is left when the last process that has it ends.
    """

    def __init__(self, size: int) -> None:
        self._memory = mmap.mmap(-1, size) if size else b""

    def put(self, data: bytes) -> Parcel:
        """Lay data down, over what was there; what is too large travels itself."""
        if len(data) > len(self._memory) or isinstance(self._memory, bytes):
            return data
        self._memory[: len(data)] = data
        return len(data)

    def get(self, parcel: Parcel) -> Any:
        """Unpickle what was put."""
        if isinstance(parcel, bytes):
            return pickle.loads(parcel)
        with memoryview(self._memory) as view, view[:parcel] as part:
            return pickle.loads(part)


@dataclass(frozen=True)
class Links:
    """What connects a worker with its parent.

    Attributes:
        pipe: the worker's end.
        inbox: what all workers are told.
        outbox: what this one answers.
        position: two numbers: the client of the block that runs now, or `TOGETHER`, or `IDLE`;
            and whether clients have left threads behind.
    """

    pipe: Connection
    inbox: Area
    outbox: Area
    position: Any


def work(
    clients: Clients | bytes, start: Start | None, links: Links, others: Sequence[Connection]
) -> NoReturn:
    """The life of a worker process; it ends with its parent, or when the parent closes the pipe.

    Args:
        clients: or both of them pickled, where the process was not forked.
        start: makes collectors.
        others: ends of pipes that a forked process has but must not hold open.
    """
    code = 1
    try:
        for other in others:
            other.close()
        sender = _Sender(links.pipe)
        _settle_in(sender)
        if isinstance(clients, bytes):
            clients, start = pickle.loads(clients)
        assert isinstance(clients, Clients)
        limit_memory(clients.memory_limit)
        sender.send(Ready())
        _Worker(clients, start, links, sender).run()
        code = 0
    except OutOfMemory:
        lift_memory_limit()
        sender.send(Exhausted())
    except (EOFError, BrokenPipeError, ConnectionResetError):
        code = 0
    except BaseException:
        logging.getLogger(__name__).critical("a worker process failed", exc_info=True)
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        # Threads that clients left behind are not waited for.
        os._exit(code)


class _Worker:
    def __init__(self, clients: Clients, start: Start | None, links: Links, sender: "_Sender") -> None:
        self._clients, self._start, self._links, self._sender = clients, start, links, sender
        self._threads = threading.active_count()
        self._round: Round | None = None
        self._collector: Collector | None = None
        self._spans: list[spans.Span] = []

    def run(self) -> None:
        """Do what the parent asks, until it closes the pipe."""
        while True:
            order = self._links.pipe.recv()
            if isinstance(order, Single):
                self._single(order)
            elif isinstance(order, Block):
                assert self._round is not None
                with self._recorded(self._round.recording), spans.span(spans.CLIENTS):
                    self._block(order)
            elif isinstance(order, Finish):
                self._finish()
            else:
                self._round, self._collector = self._links.inbox.get(order), None
            sys.stdout.flush()

    @contextmanager
    def _recorded(self, wanted: bool) -> Iterator[None]:
        if not wanted:
            yield
            return
        with spans.record() as found:
            yield
        self._spans += found

    def _single(self, order: Single) -> None:
        self._links.position[0] = 0
        with self._recorded(order.recording), spans.span(spans.CLIENTS):
            reply, state = self._clients.answer(order.message, order.state)
        self._links.position[:] = IDLE, self._crowded()
        done, self._spans = self._spans, []
        self._sender.send(Answered(reply, None if state == order.state else state, done))

    def _block(self, order: Block) -> None:
        assert self._round is not None
        assert self._start is not None
        request, position = self._round.request, self._links.position
        if self._collector is None:
            self._collector = self._start(*self._round.arguments)
        together = self._clients.at_once(request.message_type) > 1
        position[0] = TOGETHER if together else 0
        changed = {}
        for place, reply, state in self._clients.answer_each(request, order.nodes, order.states):
            self._collector.add(order.names[place], reply)
            if state != order.states.get(order.nodes[place], {}):
                changed[order.nodes[place]] = state
            position[:] = TOGETHER if together else place + 1, self._crowded()
        position[0] = IDLE
        self._sender.send(Done(changed))

    def _crowded(self) -> bool:
        return threading.active_count() > self._threads

    def _finish(self) -> None:
        assert self._collector is not None
        assert self._round is not None
        with self._recorded(self._round.recording), spans.span("records"):
            data = pickle.dumps(self._collector.collected, pickle.HIGHEST_PROTOCOL)
            parcel = self._links.outbox.put(data)
        done, self._spans = self._spans, []
        self._sender.send(Summed(parcel, done))
        self._collector = None


class _Sender:
    """Sends to the parent, from one thread at a time; also takes log records, as a queue does."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, answer: Any) -> None:
        with self._lock:
            self._pipe.send(answer)

    put_nowait = send


def _settle_in(sender: _Sender) -> None:
    """Let go of what belongs to the parent."""
    keep_freed_memory()
    spans.stop()
    # Ctrl-C reaches every process of the terminal; the parent decides and ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    # A thread of the parent may have held the lock of what it drew on the screen with.
    sys.stdout, sys.stderr = sys.__stdout__ or sys.stdout, sys.__stderr__ or sys.stderr
    forward = logging.handlers.QueueHandler(sender)  # type: ignore[arg-type]
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.handlers = [] if logger.propagate else [forward]
    logging.root.handlers = [forward]
    # Otherwise all workers would draw the same numbers.
    np.random.seed()  # noqa: NPY002
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
        torch.seed()
    # What was there before is never garbage: so its pages stay shared.
    gc.freeze()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
