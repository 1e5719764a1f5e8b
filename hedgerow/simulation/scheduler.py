"""Schedule a round: what remains, what each worker has done, and what must be repeated."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, final

from flwr.app import Message, RecordDict

from hedgerow.simulation import flower
from hedgerow.simulation.client_runner import UNKNOWN, Block, Collector, Finish, Lost, Merge, Merged
from hedgerow.simulation.clients import Request
from hedgerow.simulation.pool import Pool, Worker

ATTEMPTS = 2
"""A client fails once its worker has ended this many times while it ran."""


@final
class RoundScheduler:
    """Tracks what remains of a round, and what each worker has done of it but not yet handed over."""

    def __init__(
        self, own: Collector, request: Request, run_id: int, blocks: Iterator[Block], parcel: Any
    ) -> None:
        self._own, self._request, self._run_id, self._parcel = own, request, run_id, parcel
        self._queue = deque(blocks)
        self._done: dict[Worker, tuple[list[Block], dict[int, RecordDict]]] = {}
        self._informed: set[Worker] = set()
        self._deaths: Counter[tuple[str, ...]] = Counter()

    def hand_out(self, pool: Pool, *, late: bool) -> bool:
        """Give every free worker something to do; False if everything is done."""
        if late:
            for name in (name for block in self._queue for name in block.names):
                self._own.add(name, None)
            self._queue.clear()
        idle = pool.idle()
        for others, worker in zip(reversed(range(len(idle))), idle, strict=True):
            # If others take all that remains, this is the worker's last block. Workers that merge wait.
            last = len(self._queue) <= 1 + others and not pool.merges
            if self._queue and not self._next(pool, worker, last=last):
                self._gone(pool, worker)
        if not self._queue:
            self._gather(pool)
        return bool(self._queue or pool.busy())

    def done(self, worker: Worker, blocks: Iterable[Block], states: dict[int, RecordDict]) -> None:
        """A worker has added blocks to its sum."""
        had, changed = self._done.setdefault(worker, ([], {}))
        had.extend(blocks)
        changed.update(states)

    def merged(self, worker: Worker, task: Merge, outcome: Merged) -> None:
        """A worker has taken over another one's sum, or has found it lost."""
        if outcome.whole:
            self.done(worker, task.blocks, task.states)
        else:
            self._queue.extend(task.blocks)

    def handed_over(self, worker: Worker) -> dict[int, RecordDict]:
        """A worker's sum has arrived; returns the states that belong to it."""
        return self._done.pop(worker)[1]

    def lost(self, worker: Worker, task: object, lost: Lost) -> None:
        """A worker and its sum are gone: its work is repeated, except for a client that is to blame."""
        self._queue.extend(self._done.pop(worker, ([], {}))[0])
        if isinstance(task, Merge):
            self._queue.extend(task.blocks)
        if isinstance(task, Merge | Finish) and not lost.blameless:
            self._deaths[()] += 1
            if self._deaths[()] > ATTEMPTS:
                raise RuntimeError(f"workers end while they hand over their sums: {lost.why}")
        if not isinstance(task, Block):
            return
        if lost.blameless:
            self._queue.appendleft(task)
        elif lost.position == UNKNOWN and len(task.names) > 1:
            # One of them is to blame: run alone, it will be found.
            self._deaths.update((name,) for name in task.names)
            self._queue.extendleft(_only(task, place) for place in range(len(task.names)))
        else:
            self._blame(task, lost)

    def _blame(self, task: Block, lost: Lost) -> None:
        suspect = task.names
        if len(suspect) > 1 and 0 <= lost.position < len(suspect):
            suspect = (suspect[lost.position],)
        self._deaths[suspect] += 1
        if not lost.hung and self._deaths[suspect] < ATTEMPTS:
            # Run the suspect first, alone in the new process, where no earlier client can be to blame.
            self._queue.extendleft(_suspect_first(task, suspect))
        elif len(suspect) == 1:
            node = task.nodes[task.names.index(suspect[0])]
            self._own.add(suspect[0], self._error(node, lost.why))
            if len(task.names) > 1:
                self._queue.appendleft(_without(task, suspect[0]))
        else:
            # One of those that ran together is to blame: run alone, it will be found.
            self._queue.extendleft(_only(task, place) for place in range(len(task.names)))

    def _gone(self, pool: Pool, worker: Worker) -> None:
        """A worker that should get a task is gone."""
        self._queue.extend(self._done.pop(worker, ([], {}))[0])
        pool.replace(worker)

    def _next(self, pool: Pool, worker: Worker, *, last: bool) -> bool:
        """Give a worker its next block; False if the worker is gone."""
        if worker not in self._informed:
            pool.send(worker, self._parcel)
            self._informed.add(worker)
        if pool.give(worker, replace(self._queue[0], last=last)):
            self._queue.popleft()
            return True
        return False

    def _gather(self, pool: Pool) -> None:
        """Collect the sums; if workers can merge, they are merged into a single one first.

        Sums on the same machine are merged first, so only one of each machine crosses the network.
        """
        holders = [worker for worker in pool.idle() if worker in self._done]
        if not pool.merges:
            self._finish(pool, holders)
            return
        for one, other in [*_pairs(_by_node(holders).values()), *self._across(pool, holders)]:
            blocks, states = self._done.pop(other)
            # If this worker is gone, the other's sum is lost too: it has been handed over.
            if not pool.give(one, Merge(other, tuple(blocks), states)):
                self._queue.extend(blocks)
                self._gone(pool, one)
        if len(holders) == 1 and not pool.busy():
            self._finish(pool, holders)

    def _across(self, pool: Pool, holders: list[Worker]) -> Iterator[tuple[Worker, Worker]]:
        """Pairs on different machines that have only one sum left each."""
        still = {worker.node for worker in pool.busy()}
        alone = [ones for node, ones in _by_node(holders).items() if len(ones) == 1 and node not in still]
        return _pairs([[worker for ones in alone for worker in ones]])

    def _finish(self, pool: Pool, holders: list[Worker]) -> None:
        for worker in holders:
            if not pool.give(worker, Finish()):
                self._gone(pool, worker)

    def _error(self, node: int, why: str) -> Message:
        asked = flower.instruction(
            self._run_id, "", node, self._request.content,
            message_type=self._request.message_type, group_id=self._request.group_id,
        )  # fmt: skip
        return flower.client_died(asked, why)


def _by_node(workers: Iterable[Worker]) -> dict[str, list[Worker]]:
    nodes: dict[str, list[Worker]] = defaultdict(list)
    for worker in workers:
        nodes[worker.node].append(worker)
    return nodes


def _pairs(groups: Iterable[list[Worker]]) -> Iterator[tuple[Worker, Worker]]:
    """Pair the first with the second of each group, the third with the fourth, and so on."""
    return (pair for group in groups for pair in zip(group[::2], group[1::2], strict=False))


def _suspect_first(block: Block, suspect: tuple[str, ...]) -> list[Block]:
    """The parts of a block, of which the last runs first."""
    if len(suspect) == len(block.names):
        return [block]
    return [_without(block, suspect[0]), _only(block, block.names.index(suspect[0]))]


def _only(block: Block, place: int) -> Block:
    return _part(block, [place])


def _without(block: Block, name: str) -> Block:
    return _part(block, [place for place, other in enumerate(block.names) if other != name])


def _part(block: Block, places: list[int]) -> Block:
    nodes = tuple(block.nodes[place] for place in places)
    states = {n: block.states[n] for n in nodes if n in block.states}
    return replace(block, names=tuple(block.names[place] for place in places), nodes=nodes, states=states)
