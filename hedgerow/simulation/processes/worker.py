"""The main loop of a worker process."""

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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NoReturn, TypeAlias

from hedgerow import generators, spans
from hedgerow.simulation.client_runner import Block, Exhausted, Finish, Ready, Runner, Single, Start, Summed
from hedgerow.simulation.clients import Clients
from hedgerow.simulation.limits import OutOfMemory, lift_memory_limit, limit_memory
from hedgerow.simulation.processes.malloc import keep_freed_memory

Parcel: TypeAlias = bytes | int


class SharedBuffer:
    """Memory that a process shares with those it forks; with a size of 0, nothing is shared.

    It is anonymous: nothing is left when the last process that uses it ends.
    """

    def __init__(self, size: int) -> None:
        self._memory = mmap.mmap(-1, size) if size else b""

    def put(self, data: bytes) -> Parcel:
        """Write data to the buffer; returns its size, or the data itself if it does not fit."""
        if len(data) > len(self._memory) or isinstance(self._memory, bytes):
            return data
        self._memory[: len(data)] = data
        return len(data)

    @contextmanager
    def read(self, parcel: Parcel) -> Iterator[bytes | memoryview]:
        """What was put, without a copy."""
        if isinstance(parcel, bytes):
            yield parcel
            return
        with memoryview(self._memory) as view, view[:parcel] as part:
            yield part


@dataclass(frozen=True)
class Links:
    """What connects a worker with its parent.

    Attributes:
        pipe: the worker's end.
        inbox: data for all workers.
        outbox: this worker's results.
        position: two numbers: the position of the running client, or `TOGETHER`, or `IDLE`;
            and whether clients have left threads behind.
    """

    pipe: Connection
    inbox: SharedBuffer
    outbox: SharedBuffer
    position: Any


def work(
    clients: Clients | bytes, start: Start | None, links: Links, others: Sequence[Connection]
) -> NoReturn:
    """Run a worker process; it ends with its parent, or when the parent closes the pipe.

    Args:
        clients: the clients to run; if the process was not forked, clients and `start`, pickled.
        start: makes collectors.
        others: ends of pipes that a forked process inherits but must not keep open.
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
        # Do not wait for threads that clients left behind.
        os._exit(code)


class _Worker:
    def __init__(self, clients: Clients, start: Start | None, links: Links, sender: "_Sender") -> None:
        def at(position: int, crowded: bool) -> None:
            links.position[:] = position, crowded

        def pack(collected: Any) -> Parcel:
            return links.outbox.put(pickle.dumps(collected, pickle.HIGHEST_PROTOCOL))

        self._links, self._sender, self._pack = links, sender, pack
        self._runner = Runner(clients, start, at)

    def run(self) -> None:
        """Do the parent's tasks until it closes the pipe."""
        while True:
            parcel, order = self._links.pipe.recv()
            if parcel is not None:
                with self._links.inbox.read(parcel) as told:
                    self._runner.receive(told)
            self._sender.send(self._done(order))
            sys.stdout.flush()

    def _done(self, order: Single | Block | Finish) -> Any:
        if isinstance(order, Single):
            return self._runner.single(order)
        states = {}
        if isinstance(order, Block):
            done = self._runner.block(order)
            if not order.last:
                return done
            states = done.states
        return Summed(*self._runner.finish(self._pack), states)


class _Sender:
    """Sends to the parent, from one thread at a time; also accepts log records, like a queue."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, answer: Any) -> None:
        with self._lock:
            self._pipe.send(answer)

    put_nowait = send


def _settle_in(sender: _Sender) -> None:
    """Detach from what belongs to the parent."""
    keep_freed_memory()
    # A worker that wakes up must not preempt the parent before it has woken the next worker.
    with suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    spans.stop()
    # Ctrl-C reaches every process of the terminal; the parent decides, and ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    # At the fork, a thread of the parent may have held the lock of its replacement for stdout.
    sys.stdout, sys.stderr = sys.__stdout__ or sys.stdout, sys.__stderr__ or sys.stderr
    forward = logging.handlers.QueueHandler(sender)  # type: ignore[arg-type]
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.handlers = [] if logger.propagate else [forward]
    logging.root.handlers = [forward]
    # Otherwise all forked workers would draw the same numbers.
    generators.restart()
    generators.disown()
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    # Exclude existing objects from garbage collection, so that their pages stay shared.
    gc.freeze()


def end_with(parent: int) -> None:
    """End this process soon after its parent has ended."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
