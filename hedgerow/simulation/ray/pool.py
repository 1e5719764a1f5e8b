"""Workers as Ray actors: they are started, listened to, replaced and ended here."""

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
        answer: what is waited for: that it is ready, or what its task gives.
        task: what it does; `None` while it waits.
        told: number of the round, and what there is to know about it.
        node: id of the cluster's node that it is on.
        since: when it was given its task.
        missing_since: when its connection was lost, of which Ray has not told the reason.
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
    """So many actors for one app and one kind of collector: a `Pool`.

    The app and its data lie once in each node's object store, and so does what
    actors are told in a round. Arrays are not copied out of it: in an actor
    they cannot be written to.

    Args:
        clients: for the actors to run.
        start: makes their collectors.
        number: of actors.
        client_timeout: seconds a client has; `None` for no limit.
        resources: of each, as Ray names them.
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
        """The actors that wait."""
        return [worker for worker in self._workers if worker.ready and worker.task is None]

    def busy(self) -> list[RayWorker]:
        """The actors that have a task."""
        return [worker for worker in self._workers if worker.task is not None]

    def broadcast(self, told: bytes) -> Any:
        """Put what all actors are to be told into the object store; gives it a number."""
        self._rounds += 1
        return self._rounds, self._ray.put(np.frombuffer(told, np.uint8))

    def send(self, worker: RayWorker, parcel: Any) -> None:
        """Have an actor read what was broadcast, with its next task."""
        worker.told = parcel

    def give(self, worker: RayWorker, task: Task) -> bool:
        """Hand a task over; where the actor is gone, it is lost."""
        if isinstance(task, Merge):
            # In a list, so that the actor fetches it, and not Ray: it may be lost.
            worker.answer = worker.handle.merge.remote([task.other.handle.finish.remote()])
        else:
            worker.answer = worker.handle.do.remote(task, *worker.told)
        worker.task, worker.since = task, time.monotonic()
        return True

    def outcomes(self) -> Iterator[tuple[RayWorker, Outcome]]:
        """What the busy actors have to say, once at least one of them has; they keep their tasks.

        Also nothing: from time to time, and where one has become ready.

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
        """Start another actor in place of one that is gone, wherever the cluster has room."""
        self._kill(worker)
        self._workers[self._workers.index(worker)] = self._started()

    def close(self) -> None:
        """End all actors, whatever they do."""
        workers, self._workers = self._workers, []
        for worker in workers:
            self._kill(worker)

    def _started(self) -> RayWorker:
        handle = self._class.remote(self._given, self._clock)
        return RayWorker(handle, handle.ready.remote())

    def _kill(self, worker: RayWorker) -> None:
        # Ray may be at its end itself.
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
        if worker.missing_since is not None:  # it is there; whether it has done its task is not known
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
                # Ray knows by and by whether it was the process or the whole node.
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
        # Clients that run together have their times together.
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
    """How an actor ended.

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
