"""A pool of Ray actors: starts, polls, replaces and ends them."""

import contextlib
import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from hedgerow.simulation.client_runner import (
    TOGETHER,
    UNKNOWN,
    Block,
    Lost,
    Merge,
    Outcome,
    Single,
    Start,
    Summed,
    Task,
)
from hedgerow.simulation.clients import Clients
from hedgerow.simulation.ray.worker import Actor, clock_difference

_FALSE_STARTS = 3
_SECONDS_TO_PLACE = 30.0
_SECONDS_TO_LEARN = 60.0
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class RayWorker:
    """One actor, and what it is doing.

    Attributes:
        handle: Ray's.
        answer: the pending result: that it is ready, or the result of its task.
        task: its current task; `None` while it waits.
        told: number of the round, and the data of the round.
        node: id of the cluster node that it runs on.
        since: when it was given its task.
        missing_since: when its connection was lost, while Ray has not reported the reason.
    """

    handle: Any
    answer: Any
    task: Task | None = None
    told: tuple[int, Any] = (0, None)
    ready: bool = False
    node: str = ""
    since: float = 0.0
    missing_since: float | None = None


@final
class Actors:
    """A number of actors for one app and one kind of collector: a `Pool`.

    The app, its data and the data of a round are stored once in each node's object
    store. Arrays are not copied out of it, so actors cannot write to them.

    Args:
        clients: for the actors to run.
        start: makes their collectors.
        number: of actors.
        client_timeout: seconds allowed per client; `None` for no limit.
        resources: of each actor, as Ray names them.
    """

    merges, watches = True, False

    def __init__(
        self,
        clients: Clients,
        start: Start | None,
        number: int,
        client_timeout: float | None,
        resources: dict[str, float],
    ) -> None:
        import ray

        self.start = start
        self._log = clients.log
        self._ray: Any = ray
        self._client_timeout = client_timeout
        options = {"max_restarts": 0, "max_task_retries": 0, "scheduling_strategy": "SPREAD", **resources}
        self._class = self._ray.remote(**options)(Actor)
        self._given = ray.put((clients, start))
        self._clock = clock_difference()
        self._rounds, self._false_starts = 0, 0
        self._began, self._warned = time.monotonic(), False
        self._workers = [self._started() for _ in range(number)]

    def idle(self) -> list[RayWorker]:
        """The actors without a task."""
        return [worker for worker in self._workers if worker.ready and worker.task is None]

    def busy(self) -> list[RayWorker]:
        """The actors that have a task."""
        return [worker for worker in self._workers if worker.task is not None]

    def broadcast(self, told: bytes) -> Any:
        """Put the data that all actors need for a round into the object store, under a new number."""
        self._rounds += 1
        return self._rounds, self._ray.put(np.frombuffer(told, np.uint8))

    def send(self, worker: RayWorker, parcel: Any) -> None:
        """Let an actor read the broadcast data with its next task."""
        worker.told = parcel

    def give(self, worker: RayWorker, task: Task) -> bool:
        """Hand over a task; if the actor is gone, the task is lost."""
        if isinstance(task, Merge):
            # In a list, so that the actor fetches it rather than Ray: it may be lost.
            worker.answer = worker.handle.merge.remote([task.other.handle.finish.remote()])
        else:
            worker.answer = worker.handle.do.remote(task, *worker.told)
        worker.task, worker.since = task, time.monotonic()
        return True

    def outcomes(self) -> Iterator[tuple[RayWorker, Outcome]]:
        """The outcomes of busy actors, as soon as there is one; the actors keep their tasks.

        Yields nothing from time to time, and when one has become ready.

        Raises:
            ChildProcessError: actors end before they can do anything.
        """
        waited = {worker.answer: worker for worker in self._workers if worker.answer is not None}
        if not waited:
            return
        limit = self._client_timeout
        seconds = 1.0 if limit is None else max(0.01, min(1.0, limit / 10))
        if self._ray.wait(list(waited), timeout=seconds)[0]:
            for answer in self._ray.wait(list(waited), num_returns=len(waited), timeout=0)[0]:
                worker = waited[answer]
                outcome = self._heard(worker)
                if outcome is not None:
                    yield worker, outcome
        for worker in self.busy():
            if self._hangs(worker):
                self._kill(worker)
                yield (
                    worker,
                    Lost(f"it was stopped: it took longer than {limit:g} s", _position(worker), hung=True),
                )
        self._warn()

    def read(self, worker: RayWorker, summed: Summed) -> Any:
        """What an actor has collected."""
        return summed.parcel

    def replace(self, worker: RayWorker) -> None:
        """Start another actor to replace one that is gone, wherever the cluster has room."""
        self._kill(worker)
        self._workers[self._workers.index(worker)] = self._started()

    def close(self) -> None:
        """End all actors, whatever they are doing."""
        workers, self._workers = self._workers, []
        for worker in workers:
            self._kill(worker)

    def _started(self) -> RayWorker:
        handle = self._class.remote(self._given, self._clock)
        return RayWorker(handle, handle.ready.remote())

    def _kill(self, worker: RayWorker) -> None:
        # Ray itself may be shutting down.
        with contextlib.suppress(Exception):
            self._ray.kill(worker.handle)

    def _heard(self, worker: RayWorker) -> Outcome | None:
        answer, worker.answer = worker.answer, None
        try:
            heard = self._ray.get(answer)
        except self._ray.exceptions.RayError as error:
            return self._failed(worker, error)
        if not worker.ready:
            worker.node, worker.ready, self._false_starts = heard, True, 0
            return None
        if worker.missing_since is not None:  # it is back, but it is not known whether it has done its task
            return Lost("the connection to it was lost", _position(worker), blameless=True)
        outcome: Outcome
        outcome, records = heard
        for record in records:
            self._log(record)
        return outcome

    def _failed(self, worker: RayWorker, error: Exception) -> Outcome | None:
        if not worker.ready:
            self._false_starts += 1
            if self._false_starts > _FALSE_STARTS:
                raise ChildProcessError(f"the actors do not start on the cluster: {error}")
            self.replace(worker)
            return None
        if isinstance(error, self._ray.exceptions.ActorUnavailableError):
            now = time.monotonic()
            worker.missing_since = worker.missing_since or now
            if now - worker.missing_since < _SECONDS_TO_LEARN:
                # Ray learns only later whether it was the process or the whole node.
                worker.answer = worker.handle.node.remote()
                return None
            return Lost("the connection to it was lost", _position(worker), blameless=True)
        if not isinstance(error, self._ray.exceptions.RayActorError | self._ray.exceptions.OutOfMemoryError):
            _log.critical("an actor failed: %s", error)
        gone = worker.node not in {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        return Lost(_words(error, gone), _position(worker), blameless=gone)

    def _hangs(self, worker: RayWorker) -> bool:
        limit, task = self._client_timeout, worker.task
        if limit is None or not isinstance(task, Single | Block) or worker.missing_since is not None:
            return False
        # Clients that run together share the sum of their times.
        clients = len(task.nodes) if isinstance(task, Block) else 1
        return time.monotonic() - worker.since > limit * clients

    def _warn(self) -> None:
        waited = time.monotonic() - self._began > _SECONDS_TO_PLACE
        if waited and not self._warned and not any(worker.ready for worker in self._workers):
            self._warned = True
            _log.warning(
                "after %g s no actor has started; the cluster has %s, of which %s are free; the run waits",
                _SECONDS_TO_PLACE,
                self._ray.cluster_resources(),
                self._ray.available_resources(),
            )


def _position(worker: RayWorker) -> int:
    task = worker.task
    if isinstance(task, Block):
        return TOGETHER if task.together else 0 if len(task.names) == 1 else UNKNOWN
    return 0


def _words(error: Exception, node_is_gone: bool) -> str:
    """How an actor ended, in words.

    >>> _words(RuntimeError("... RayWorker exit type: SYSTEM_ERROR RayWorker exit detail: ..."), False)
    'its process on the cluster ended (SYSTEM_ERROR), perhaps for lack of memory'
    """
    if node_is_gone:
        return "its node of the cluster is gone"
    if kind := re.search(r"exit type: (\w+)", str(error)):
        return f"its process on the cluster ended ({kind[1]}), perhaps for lack of memory"
    if type(error).__name__ == "OutOfMemoryError":
        return "Ray ended its process for lack of memory"
    return f"its actor failed: {str(error).strip().splitlines()[-1]}"
