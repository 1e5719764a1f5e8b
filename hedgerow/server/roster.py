"""Which node is which client.

Flower's node ids are random in every run. Sampling, seeds and ledgers use the
client's stable name instead; the roster knows the node behind each name.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from hedgerow.records import unpack_identity
from hedgerow.server.exchange import exchange
from hedgerow.types import PayloadError

log = logging.getLogger("hedgerow")


@runtime_checkable
class KnowsNames(Protocol):
    """A grid that can name its nodes without asking them, as the simulation's can."""

    def node_names(self) -> Mapping[int, str] | None:
        """`{node id: stable client name}`."""


class Roster:
    """Stable client names and the nodes behind them.

    A node that gives a name that is taken is refused for as long as the first
    node of that name is connected; one that does not answer, or answers
    nonsense, is asked again in the next round.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, int] = {}
        self._names: tuple[str, ...] = ()
        self._seen: frozenset[int] = frozenset()

    @property
    def names(self) -> Sequence[str]:
        """Sorted names of the clients that are there."""
        return self._names

    def node(self, name: str) -> int:
        """Node id of a client."""
        return self._nodes[name]

    def refresh(self, grid: Grid, *, timeout: float = 60.0) -> None:
        """Bring the roster up to date; waits up to `timeout` seconds for new nodes to say who they are."""
        ids = frozenset(grid.get_node_ids())
        if ids == self._seen and len(self._nodes) == len(ids):
            return
        self._nodes = {name: node for name, node in self._nodes.items() if node in ids}
        known = set(self._nodes.values())
        for node, name in self._ask(grid, sorted(ids - known), timeout):
            if name in self._nodes:
                log.warning("node %d says it is client %r, which is connected already: left out", node, name)
            else:
                self._nodes[name] = node
        self._names = tuple(sorted(self._nodes))
        self._seen = ids

    def wait(self, grid: Grid, clients: int, *, timeout: float | None = None, pause: float = 1.0) -> None:
        """Wait until that many clients are there.

        Raises:
            TimeoutError: they are not, `timeout` seconds later.
        """
        started = time.monotonic()
        while True:
            self.refresh(grid)
            if len(self._names) >= clients:
                return
            if timeout is not None and time.monotonic() - started > timeout:
                raise TimeoutError(
                    f"{len(self._names)} clients are connected after {timeout:g} s; {clients} are needed"
                )
            time.sleep(pause)

    def _ask(self, grid: Grid, nodes: Sequence[int], timeout: float) -> Iterator[tuple[int, str]]:
        names = grid.node_names() if isinstance(grid, KnowsNames) else None
        if names is not None:
            yield from ((node, names[node]) for node in nodes)
            return
        questions = [Message(RecordDict(), dst_node_id=node, message_type="query") for node in nodes]
        for node, reply in exchange(grid, questions, timeout):
            if reply is None or reply.has_error():
                log.warning("node %d does not say which client it is: %s", node, _why(reply))
                continue
            try:
                yield node, unpack_identity(reply.content)[0]
            except PayloadError as error:
                log.warning("node %d does not say which client it is: %s", node, error)


def _why(reply: Message | None) -> str:
    return "no reply" if reply is None else str(reply.error.reason)
