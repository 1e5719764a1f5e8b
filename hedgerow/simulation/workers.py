"""Clients in several processes: who runs what, and what is run again when a process ends."""

import pickle
import time
from collections import Counter, deque
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any, final

from flwr.app import Message, RecordDict

from hedgerow import spans
from hedgerow.simulation import flower
from hedgerow.simulation.clients import Clients, Request, batches, keep
from hedgerow.simulation.processes import Lost, Processes, Worker
from hedgerow.simulation.worker import (
    Answered,
    Block,
    Collector,
    Done,
    Finish,
    Parcel,
    Round,
    Single,
    Start,
    Summed,
)

_ATTEMPTS = 2
_SLACK = 2**16


@final
class Workers:
    """Runs clients in a fixed number of processes, started when there is something to do.

    A process that ends is replaced, and what it had not handed over is run
    again. A client whose process ends a second time while it runs fails by
    name, and so does one that takes longer than its time; the others go on.

    Args:
        clients: to run.
        states: of the clients that have one, by node; kept up to date.
        number: of processes.
        client_timeout: seconds a client has; `None` for no limit.
        method: `"fork"` or `"spawn"`, see `Processes`.
    """

    def __init__(
        self,
        clients: Clients,
        states: MutableMapping[int, RecordDict],
        number: int,
        client_timeout: float | None,
        method: str,
    ) -> None:
        self.number = number
        self._clients, self._states = clients, states
        self._client_timeout, self._method = client_timeout, method
        self._processes: Processes | None = None
        self._queue: deque[Message] = deque()
        self._replies: dict[str, Message] = {}
        self._deaths: Counter[str] = Counter()

    def close(self) -> None:
        """End all processes, whatever they do; they start again when there is something to do."""
        if self._processes is not None:
            self._processes.close()
        self._processes = None
        self._queue.clear()

    # Replies, one by one

    def submit(self, message: Message) -> None:
        """Have a message answered as soon as a process is free, if it is not in hand already."""
        if message.metadata.message_id not in self.in_hand():
            self._queue.append(message)
            self._hand_out_singles()

    def in_hand(self) -> set[str]:
        """Ids of the messages submitted whose replies were not taken."""
        messages = [*self._queue, *(single.message for single in self._running())]
        return {*self._replies, *(message.metadata.message_id for message in messages)}

    def take(self, message_id: str) -> Message:
        """Wait for the reply to a message in hand."""
        while message_id not in self._replies:
            self._listen()
        return self._replies.pop(message_id)

    def _running(self) -> list[Single]:
        tasks = [worker.task for worker in self._processes.busy()] if self._processes else []
        return [task for task in tasks if isinstance(task, Single)]

    def _listen(self) -> None:
        try:
            processes = self._hand_out_singles()
            for worker, outcome in processes.outcomes():
                single, worker.task = worker.task, None
                assert isinstance(single, Single)
                if isinstance(outcome, Answered):
                    spans.add(outcome.spans)
                    self._replies[single.message.metadata.message_id] = outcome.reply
                    if outcome.state is not None:
                        keep(self._states, single.message.metadata.dst_node_id, outcome.state)
                elif isinstance(outcome, Lost):
                    self._lost(single.message, outcome)
                    processes.replace(worker)
        except BaseException:
            self.close()
            raise

    def _lost(self, message: Message, lost: Lost) -> None:
        message_id = message.metadata.message_id
        self._deaths[message_id] += 1
        if not lost.hung and self._deaths[message_id] < _ATTEMPTS:
            self._queue.appendleft(message)
        else:
            self._replies[message_id] = flower.client_died(message, lost.why)

    def _hand_out_singles(self) -> Processes:
        processes = self._processes or self._started(None)
        for worker in processes.idle():
            # A client's messages are answered one after another: each needs the state that the last one left.
            taken = {single.message.metadata.dst_node_id for single in self._running()}
            free = [message for message in self._queue if message.metadata.dst_node_id not in taken]
            if free:
                state = self._states.get(free[0].metadata.dst_node_id, RecordDict())
                if processes.give(worker, Single(free[0], state, spans.recording())):
                    self._queue.remove(free[0])
                else:
                    processes.replace(worker)
        return processes

    # Sums

    def reduce(
        self,
        start: Start,
        arguments: tuple[Any, ...],
        asked: Sequence[tuple[str, int]],
        request: Request,
        timeout: float | None,
    ) -> Iterator[Any]:
        """Yield what the workers' collectors collected."""
        while self._queue or self._running():
            self._listen()
        own = start(*arguments)
        with spans.span("records"):
            told = pickle.dumps(Round(arguments, request, spans.recording()), pickle.HIGHEST_PROTOCOL)
        processes = self._processes
        if processes is None or processes.start != start:
            outbox = len(pickle.dumps(own.collected, pickle.HIGHEST_PROTOCOL))
            processes = self._started(
                start, inbox=len(told) + _SLACK, outbox=outbox + _SLACK + 200 * len(asked)
            )
        blocks = self._blocks(asked, request)
        deadline = None if timeout is None else time.monotonic() + timeout
        share = _Share(own, request, self._clients.run_id, blocks, processes.inbox.put(told))
        try:
            while share.hand_out(processes, late=deadline is not None and time.monotonic() > deadline):
                for worker, outcome in processes.outcomes():
                    task, worker.task = worker.task, None
                    if isinstance(outcome, Done) and isinstance(task, Block):
                        share.done(worker, task, outcome.states)
                    elif isinstance(outcome, Lost):
                        share.lost(worker, task, outcome)
                        processes.replace(worker)
                    elif isinstance(outcome, Summed):
                        for node, state in share.handed_over(worker).items():
                            keep(self._states, node, state)
                        spans.add(outcome.spans)
                        with spans.span("records"):
                            part = worker.outbox.get(outcome.parcel)
                        yield part
        except BaseException:
            self.close()
            raise
        yield own.collected

    def _blocks(self, asked: Sequence[tuple[str, int]], request: Request) -> Iterator[Block]:
        at_once, number = self._clients.at_once(request.message_type), len(asked)
        for part in batches(number, at_once) if at_once > 1 else _shrinking(number, self.number):
            names, nodes = zip(*asked[part], strict=True)
            yield Block(names, nodes, {node: self._states[node] for node in nodes if node in self._states})

    def _started(self, start: Start | None, *, inbox: int = 0, outbox: int = 0) -> Processes:
        if self._processes is not None:
            self._processes.close()
        self._processes = Processes(
            self._clients, start, self.number, self._client_timeout, self._method,
            inbox=inbox, outbox=outbox,
        )  # fmt: skip
        return self._processes


class _Share:
    """What is left of a round, and what each worker has done of it but not handed over."""

    def __init__(
        self, own: Collector, request: Request, run_id: int, blocks: Iterator[Block], parcel: Parcel
    ) -> None:
        self._own, self._request, self._run_id, self._parcel = own, request, run_id, parcel
        self._queue = deque(blocks)
        self._done: dict[Worker, tuple[list[Block], dict[int, RecordDict]]] = {}
        self._informed: set[Worker] = set()
        self._deaths: Counter[tuple[str, ...]] = Counter()

    def hand_out(self, processes: Processes, *, late: bool) -> bool:
        """Give every free worker something to do; False where all is done."""
        if late:
            for name in (name for block in self._queue for name in block.names):
                self._own.add(name, None)
            self._queue.clear()
        for worker in processes.idle():
            if not self._next(processes, worker):
                self.lost(worker, None)
                processes.replace(worker)
        return bool(self._queue or processes.busy())

    def done(self, worker: Worker, block: Block, states: dict[int, RecordDict]) -> None:
        """A worker has counted a block in."""
        blocks, changed = self._done.setdefault(worker, ([], {}))
        blocks.append(block)
        changed.update(states)

    def handed_over(self, worker: Worker) -> dict[int, RecordDict]:
        """A worker's sum has arrived; the states that go with it."""
        return self._done.pop(worker)[1]

    def lost(self, worker: Worker, task: object, lost: Lost | None = None) -> None:
        """A worker is gone, and what it had done with it: it is done again, but for who is to blame."""
        self._queue.extend(self._done.pop(worker, ([], {}))[0])
        if isinstance(task, Finish):
            self._deaths[()] += 1
            if self._deaths[()] > _ATTEMPTS:
                raise RuntimeError(f"workers end while they hand over their sums: {lost and lost.why}")
        if not isinstance(task, Block) or lost is None:
            return
        suspect = task.names
        if len(suspect) > 1 and 0 <= lost.position < len(suspect):
            suspect = (suspect[lost.position],)
        self._deaths[suspect] += 1
        if not lost.hung and self._deaths[suspect] < _ATTEMPTS:
            # First the suspect, alone in the new process: nobody before it can then be to blame.
            self._queue.extendleft(_suspect_first(task, suspect))
        elif len(suspect) == 1:
            node = task.nodes[task.names.index(suspect[0])]
            self._own.add(suspect[0], self._error(node, lost.why))
            if len(task.names) > 1:
                self._queue.appendleft(_without(task, suspect[0]))
        else:
            # One of those that ran together is to blame: alone, it will show itself.
            self._queue.extendleft(_only(task, place) for place in range(len(task.names)))

    def _next(self, processes: Processes, worker: Worker) -> bool:
        """Give a worker its next task, if there is one; False where the worker is gone."""
        if self._queue:
            if worker not in self._informed and not processes.tell(worker, self._parcel):
                return False
            self._informed.add(worker)
            if processes.give(worker, self._queue[0]):
                self._queue.popleft()
                return True
            return False
        return worker not in self._done or processes.give(worker, Finish())

    def _error(self, node: int, why: str) -> Message:
        asked = flower.instruction(
            self._run_id, "", node, self._request.content,
            message_type=self._request.message_type, group_id=self._request.group_id,
        )  # fmt: skip
        return flower.client_died(asked, why)


def _shrinking(clients: int, workers: int) -> Iterator[slice]:
    """Large blocks first, for few messages; at the end single clients, so that all workers end together.

    >>> [part.stop - part.start for part in _shrinking(20, 2)]
    [5, 3, 3, 2, 1, 1, 1, 1, 1, 1, 1]
    """
    first = 0
    while first < clients:
        size = max(1, min(64, (clients - first) // (2 * workers)))
        yield slice(first, first + size)
        first += size


def _suspect_first(block: Block, suspect: tuple[str, ...]) -> list[Block]:
    """The parts of a block, the last one to be run first."""
    if len(suspect) == len(block.names):
        return [block]
    return [_without(block, suspect[0]), _only(block, block.names.index(suspect[0]))]


def _only(block: Block, place: int) -> Block:
    node = block.nodes[place]
    return Block((block.names[place],), (node,), {n: s for n, s in block.states.items() if n == node})


def _without(block: Block, name: str) -> Block:
    kept = [place for place, other in enumerate(block.names) if other != name]
    nodes = tuple(block.nodes[place] for place in kept)
    return Block(
        tuple(block.names[place] for place in kept),
        nodes,
        {n: block.states[n] for n in nodes if n in block.states},
    )
