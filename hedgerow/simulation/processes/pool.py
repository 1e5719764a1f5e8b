"""A pool of worker processes on this machine: starts, polls, replaces and ends them."""

import atexit
import logging
import multiprocessing
import pickle
import signal
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, final

from hedgerow import spans
from hedgerow.simulation.client_runner import (
    IDLE,
    Answered,
    Block,
    Done,
    Exhausted,
    Finish,
    Lost,
    Outcome,
    Ready,
    Start,
    Summed,
    Task,
)
from hedgerow.simulation.clients import Clients
from hedgerow.simulation.processes.worker import Links, Parcel, SharedBuffer, work

_FALSE_STARTS = 3


@dataclass(eq=False)
class ProcessWorker:
    """One process, and what it is doing.

    Attributes:
        outbox: where it puts what it collected.
        task: its current task; `None` while it waits.
        told: what it must read before its next task.
        began: when it was started, on the clock of spans.
    """

    process: BaseProcess
    pipe: Connection
    outbox: SharedBuffer
    position: Any
    task: Task | None = None
    told: Parcel | None = None
    ready: bool = False
    since: float = 0.0
    began: int = 0
    seen: int = IDLE
    node: str = ""


@final
class Processes:
    """A number of processes for one app and one kind of collector: a `Pool`.

    Args:
        clients: for the processes to run.
        start: makes their collectors.
        number: of processes.
        client_timeout: seconds allowed per client; `None` for no limit.
        method: `"fork"`, which shares existing memory; or `"spawn"`, for which
            app and collector are pickled.
        inbox: bytes of shared memory for broadcasts; for `"fork"`.
        outbox: bytes of shared memory for what each has collected.
    """

    merges, watches = False, True

    def __init__(
        self,
        clients: Clients,
        start: Start | None,
        number: int,
        client_timeout: float | None,
        method: str,
        *,
        inbox: int = 0,
        outbox: int = 0,
    ) -> None:
        self.start = start
        self._client_timeout, self._memory_limit = client_timeout, clients.memory_limit
        self._log = clients.log
        self._context: Any = multiprocessing.get_context(method)
        self._forks = method == "fork"
        self._given: tuple[Any, ...] = (clients, start) if self._forks else (_pickled(clients, start), None)
        self._inbox = SharedBuffer(inbox if self._forks else 0)
        self._outbox = outbox if self._forks else 0
        self._false_starts = 0
        self._workers: list[ProcessWorker] = []
        # Must run before multiprocessing waits for the processes, which it does when Python exits.
        atexit.register(self.close)
        with spans.span("start workers"):
            for _ in range(number):
                self._workers.append(self._started())

    def idle(self) -> list[ProcessWorker]:
        """The workers without a task."""
        return [worker for worker in self._workers if worker.task is None]

    def busy(self) -> list[ProcessWorker]:
        """The workers that have a task."""
        return [worker for worker in self._workers if worker.task is not None]

    def broadcast(self, told: bytes) -> Parcel:
        """Put the data that all workers need for a round where they can read it."""
        return self._inbox.put(told)

    def send(self, worker: ProcessWorker, parcel: Parcel) -> None:
        """Let a worker read the broadcast data with its next task: a separate message would wake it up."""
        worker.told = parcel

    def read(self, worker: ProcessWorker, summed: Summed) -> Any:
        """What a worker has collected."""
        with worker.outbox.read(summed.parcel) as data:
            return pickle.loads(data)

    def give(self, worker: ProcessWorker, task: Task) -> bool:
        """Hand over a task; False if the worker is gone."""
        try:
            worker.pipe.send((worker.told, task))
        except OSError:
            return False
        worker.told = None
        worker.task, worker.since, worker.seen = task, time.monotonic(), IDLE
        return True

    def outcomes(self) -> Iterator[tuple[ProcessWorker, Outcome]]:
        """The outcomes of busy workers, as soon as there is one; the workers keep their tasks.

        Yields nothing from time to time, and if none is busy.
        """
        busy, limit = self.busy(), self._client_timeout
        if not busy:
            return
        handles = [handle for worker in busy for handle in (worker.pipe, worker.process.sentinel)]
        with spans.span(spans.IDLE):
            ready = set(wait(handles, 1.0 if limit is None else max(0.01, min(1.0, limit / 10))))
        for worker in busy:
            if worker.pipe in ready or worker.process.sentinel in ready:
                outcome = self._heard(worker)
                if outcome is not None:
                    yield worker, outcome
            elif limit is not None and _hangs(worker, limit):
                position, crowded = worker.position
                worker.process.kill()
                # Threads left by earlier clients may have slowed it down: it gets another try without them.
                why = f"it was stopped: it took longer than {limit:g} s"
                yield worker, Lost(why, position, hung=not crowded)

    def replace(self, worker: ProcessWorker) -> None:
        """Start another process to replace one that is gone.

        Raises:
            RuntimeError: processes end before they can do anything.
        """
        place = self._workers.index(worker)
        # Remove the old worker first, so that the new process does not inherit its pipe.
        del self._workers[place]
        worker.pipe.close()
        code = _ended(worker)
        if not worker.ready:
            self._false_starts += 1
            if self._false_starts > _FALSE_STARTS:
                raise RuntimeError(f"the worker processes do not start: {death(code)}; see the log")
        self._workers.insert(place, self._started())

    def close(self) -> None:
        """End all processes: idle ones end by themselves, the others are killed."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.pipe.close()
            if worker.task is not None:
                worker.process.kill()
        for worker in workers:
            _ended(worker)
        atexit.unregister(self.close)

    def _started(self) -> ProcessWorker:
        mine, its = self._context.Pipe()
        outbox, position = SharedBuffer(self._outbox), self._context.RawArray("q", [IDLE, 0])
        links = Links(its, self._inbox, outbox, position)
        others = [mine, *(worker.pipe for worker in self._workers)] if self._forks else []
        process = self._context.Process(target=work, args=(*self._given, links, others))
        began = time.perf_counter_ns()
        with warnings.catch_warnings():
            # Python warns of forks in a process with threads; what a worker does after the fork is safe.
            warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
            process.start()
        its.close()
        return ProcessWorker(process, mine, outbox, position, began=began)

    def _heard(self, worker: ProcessWorker) -> Outcome | None:
        try:
            while worker.pipe.poll():
                heard = worker.pipe.recv()
                if isinstance(heard, logging.LogRecord):
                    self._log(heard)
                elif isinstance(heard, Ready):
                    worker.ready, self._false_starts = True, 0
                elif isinstance(heard, Exhausted):
                    worker.process.join()
                    return Lost(_took_too_much(self._memory_limit), worker.position[0])
                elif isinstance(heard, Answered | Done | Summed):
                    return heard
            if worker.process.is_alive():
                return None
        except (EOFError, OSError, pickle.UnpicklingError):  # including a truncated message
            worker.process.kill()
        worker.process.join()
        return Lost(death(worker.process.exitcode), worker.position[0])


def death(code: int | None) -> str:
    """How a process ended, in words.

    >>> death(3)
    'its process ended with exit code 3'
    """
    if code is not None and code < 0:
        return f"its process was killed ({signal.Signals(-code).name}), perhaps for lack of memory"
    return f"its process ended with exit code {code}"


def _took_too_much(limit: int | None) -> str:
    assert limit is not None
    return f"it needs more memory than the {limit / 1e6:,.0f} MB allowed"


def _hangs(worker: ProcessWorker, limit: float) -> bool:
    if isinstance(worker.task, Finish):
        return False
    if worker.position[0] != worker.seen:
        worker.seen, worker.since = worker.position[0], time.monotonic()
    # Clients that run together share the sum of their times.
    together = isinstance(worker.task, Block) and worker.seen < 0
    clients = len(worker.task.nodes) if isinstance(worker.task, Block) and together else 1
    return time.monotonic() - worker.since > limit * clients


def _ended(worker: ProcessWorker) -> int | None:
    """Reap a process that should have ended, killing it if necessary; returns its exit code."""
    process = worker.process
    process.join(1)
    if process.is_alive():
        process.kill()
        process.join()
    code, pid = process.exitcode, process.pid
    assert pid is not None
    # On Linux a process has the id of its first thread, so that thread's spans lie within this one.
    spans.add([spans.Span(spans.WORKER, worker.began, time.perf_counter_ns(), pid, pid)])
    process.close()
    return code


def _pickled(clients: Clients, start: Start | None) -> bytes:
    import cloudpickle  # imported only here: forked processes do not need it

    data: bytes = cloudpickle.dumps((clients, start))
    return data
