"""Run clients in several processes: which worker runs what, and what is repeated when a process ends."""

import pickle
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, MutableMapping, Sequence, Set
from contextlib import ExitStack
from typing import Any, Self, final

from flwr.app import Message, RecordDict

from hedgerow import spans
from hedgerow.simulation import flower
from hedgerow.simulation.client_runner import (
    Answered,
    Block,
    Done,
    Lost,
    Merge,
    Merged,
    Round,
    Single,
    Start,
    Summed,
)
from hedgerow.simulation.clients import Clients, Request, keep
from hedgerow.simulation.pool import Place, Pool
from hedgerow.simulation.scheduler import ATTEMPTS, RoundScheduler

_SLACK = 2**16


@final
class Workers:
    """Runs clients in a fixed number of worker processes, started when there is something to do.

    A process that ends is replaced, and what it had not handed over is run
    again. A client whose process ends a second time while it runs fails by
    name, and so does one that exceeds its time; the others continue.

    Args:
        clients: to run.
        states: states of the clients that have one, by node; kept up to date.
        number: of workers; `None` for as many as the machine or cluster has room for.
        client_timeout: seconds allowed per client; `None` for no limit.
        place: where the workers run.
    """

    def __init__(
        self,
        clients: Clients,
        states: MutableMapping[int, RecordDict],
        number: int | None,
        client_timeout: float | None,
        place: Place,
    ) -> None:
        self.number = number or 1
        self._clients, self._states = clients, states
        self._client_timeout, self._place = client_timeout, place
        self._asked = number
        self._entered = ExitStack()
        self._pool: Pool | None = None
        self._queue: deque[Message] = deque()
        self._replies: dict[str, Message] = {}
        self._deaths: Counter[str] = Counter()

    def __enter__(self) -> Self:
        """Connect to the machine or cluster."""
        with ExitStack() as entered:
            self.number = entered.enter_context(self._place.session(self._asked))
            entered.callback(self.close)
            self._entered = entered.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        """End all workers, and disconnect."""
        self._entered.close()

    def close(self) -> None:
        """End all workers, whatever they are doing; they start again when there is something to do."""
        if self._pool is not None:
            self._pool.close()
        self._pool = None
        self._queue.clear()

    # Replies, one by one

    def submit(self, message: Message) -> None:
        """Have a message answered as soon as a process is free, unless it was submitted already."""
        message_id = message.metadata.message_id
        if message_id not in self._replies and message_id not in self.unanswered():
            self._queue.append(message)
            self._hand_out_singles()

    def in_hand(self) -> set[str]:
        """Ids of the submitted messages whose replies have not been taken."""
        return {*self._replies, *self.unanswered()}

    def unanswered(self) -> set[str]:
        """Ids of the submitted messages that have no reply yet."""
        messages = [*self._queue, *(single.message for single in self._running())]
        return {message.metadata.message_id for message in messages}

    def answered(self, message_ids: Set[str]) -> Set[str]:
        """Those of these submitted messages that have a reply; if none has, waits up to a second."""
        if self._replies.keys().isdisjoint(message_ids):
            self._listen()
        return message_ids & self._replies.keys()

    def take(self, message_id: str) -> Message:
        """Wait for the reply to a submitted message."""
        while message_id not in self._replies:
            self._listen()
        return self._replies.pop(message_id)

    def _running(self) -> list[Single]:
        tasks = [worker.task for worker in self._pool.busy()] if self._pool else []
        return [task for task in tasks if isinstance(task, Single)]

    def _listen(self) -> None:
        try:
            pool = self._hand_out_singles()
            for worker, outcome in pool.outcomes():
                single, worker.task = worker.task, None
                assert isinstance(single, Single)
                if isinstance(outcome, Answered):
                    spans.add(outcome.spans)
                    self._replies[single.message.metadata.message_id] = outcome.reply
                    if outcome.state is not None:
                        keep(self._states, single.message.metadata.dst_node_id, outcome.state)
                elif isinstance(outcome, Lost):
                    self._lost(single.message, outcome)
                    pool.replace(worker)
        except BaseException:
            self.close()
            raise

    def _lost(self, message: Message, lost: Lost) -> None:
        message_id = message.metadata.message_id
        self._deaths[message_id] += not lost.blameless
        if not lost.hung and self._deaths[message_id] < ATTEMPTS:
            self._queue.appendleft(message)
        else:
            self._replies[message_id] = flower.client_died(message, lost.why)

    def _hand_out_singles(self) -> Pool:
        pool = self._pool or self._started(None)
        for worker in pool.idle():
            # A client's messages are answered one after another: each needs the state after the last one.
            taken = {single.message.metadata.dst_node_id for single in self._running()}
            free = [message for message in self._queue if message.metadata.dst_node_id not in taken]
            if free:
                state = self._states.get(free[0].metadata.dst_node_id, RecordDict())
                if pool.give(worker, Single(free[0], state, spans.recording())):
                    self._queue.remove(free[0])
                else:
                    pool.replace(worker)
        return pool

    # Sums

    def reduce(
        self,
        start: Start,
        arguments: tuple[Any, ...],
        asked: Sequence[tuple[str, int]],
        request: Request,
        timeout: float | None,
    ) -> Iterator[Any]:
        """Yield what each worker's collector has collected."""
        while self._queue or self._running():
            self._listen()
        own = start(*arguments)
        # Sent with the round, so that processes started for another collector need not be restarted.
        carried = start if getattr(start, "carried", False) else None
        with spans.span("records"):
            told = pickle.dumps(
                Round(arguments, request, spans.recording(), carried), pickle.HIGHEST_PROTOCOL
            )
        pool = self._pool
        if pool is None or (carried is None and pool.start != start):
            outbox = len(pickle.dumps(own.collected, pickle.HIGHEST_PROTOCOL))
            pool = self._started(start, inbox=len(told) + _SLACK, outbox=outbox + _SLACK + 200 * len(asked))
        blocks = self._blocks(asked, request, pool)
        deadline = None if timeout is None else time.monotonic() + timeout
        scheduler = RoundScheduler(own, request, self._clients.run_id, blocks, pool.broadcast(told))
        try:
            while scheduler.hand_out(pool, late=deadline is not None and time.monotonic() > deadline):
                for worker, outcome in pool.outcomes():
                    task, worker.task = worker.task, None
                    if isinstance(outcome, Done) and isinstance(task, Block):
                        scheduler.done(worker, [task], outcome.states)
                    elif isinstance(outcome, Merged) and isinstance(task, Merge):
                        scheduler.merged(worker, task, outcome)
                    elif isinstance(outcome, Lost):
                        scheduler.lost(worker, task, outcome)
                        pool.replace(worker)
                    elif isinstance(outcome, Summed):
                        if isinstance(task, Block):
                            scheduler.done(worker, [task], outcome.states)
                        for node, state in scheduler.handed_over(worker).items():
                            keep(self._states, node, state)
                        spans.add(outcome.spans)
                        with spans.span("records"):
                            part = pool.read(worker, outcome)
                        yield part
        except BaseException:
            self.close()
            raise
        yield own.collected

    def _blocks(self, asked: Sequence[tuple[str, int]], request: Request, pool: Pool) -> Iterator[Block]:
        batch_clients, number = self._clients.batch_clients(request.message_type), len(asked)
        parts: Iterable[slice]
        if batch_clients > 1:
            parts = self._clients.parts(number, batch_clients, self.number)
        elif self._client_timeout is not None and not pool.watches:
            # Single clients, because a client's time is not known otherwise.
            parts = (slice(place, place + 1) for place in range(number))
        else:
            parts = _shrinking(number, self.number)
        for part in parts:
            names, nodes = zip(*asked[part], strict=True)
            states = {node: self._states[node] for node in nodes if node in self._states}
            yield Block(names, nodes, states, together=batch_clients > 1)

    def _started(self, start: Start | None, *, inbox: int = 0, outbox: int = 0) -> Pool:
        if self._pool is not None:
            self._pool.close()
        self._pool = self._place.pool(
            self._clients, start, self.number, self._client_timeout, inbox=inbox, outbox=outbox
        )
        return self._pool


def _shrinking(clients: int, workers: int) -> Iterator[slice]:
    """Large blocks first, to save messages; single clients at the end, so that all workers finish together.

    >>> [part.stop - part.start for part in _shrinking(20, 2)]
    [5, 3, 3, 2, 1, 1, 1, 1, 1, 1, 1]
    """
    first = 0
    while first < clients:
        size = max(1, min(64, (clients - first) // (2 * workers)))
        yield slice(first, first + size)
        first += size
