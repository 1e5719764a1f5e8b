"""The roster: which node is which client.

Flower's node ids are random in every run. Sampling, seeds and ledgers use the
client's stable name instead; the roster maps each name to its node.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Protocol, runtime_checkable

from flwr.app import RecordDict
from flwr.serverapp import Grid

from hedgerow.records import from_flower
from hedgerow.server.exchange import exchange, instruction
from hedgerow.server.failures import EveryClientFailed, same_refusal
from hedgerow.server.replies import NO_REPLY, failure, is_absence, said
from hedgerow.types import ClientNames, PayloadError
from hedgerow.wire.messages import unpack_identity

log = logging.getLogger("hedgerow")


@runtime_checkable
class KnowsNames(Protocol):
    """A grid that can name its nodes without asking them, as the simulation's can."""

    def client_names(self) -> Sequence[str] | None:
        """Stable name of each node, in the order of `get_node_ids`; it never changes."""


class Roster:
    """Stable client names and the nodes behind them.

    A node whose name is taken is refused while the first node with that name is
    connected; a node that does not answer, or answers nonsense, is asked again in
    the next round.

    Args:
        joined: returns `{node id: name}` of the nodes that may take part, each only under its own
            name; with `None`, a node's own claim is accepted.
        tell: called with `{name or node id: reason}` of the nodes that refuse, when that changes.
    """

    def __init__(
        self,
        joined: Callable[[], Mapping[int, str]] | None = None,
        tell: Callable[[Mapping[str, str]], None] = lambda refusals: None,
    ) -> None:
        self._joined, self._tell = joined, tell
        self._told: Mapping[str, str] | None = None
        self._nodes: Mapping[str, int] = {}
        self._names: Sequence[str] = ()
        self._seen: Iterable[int] = ()
        self._known: Sequence[str] | None = None
        self._refusals: dict[int, str] = {}

    @property
    def names(self) -> Sequence[str]:
        """Sorted names of the available clients."""
        return self._names

    def node(self, name: str) -> int:
        """Node id of a client."""
        return self._nodes[name]

    def there(self) -> Mapping[str, int]:
        """Node ids of the available clients, by name."""
        return {name: self._nodes[name] for name in self._names}

    def refresh(self, grid: Grid, *, timeout: float = 60.0) -> None:
        """Update the roster; waits up to `timeout` seconds for new nodes to identify themselves."""
        if isinstance(grid, KnowsNames) and (known := grid.client_names()) is not None:
            if known is not self._known:
                self._take_over(known, grid.get_node_ids())
            return
        ids = frozenset(grid.get_node_ids())
        if ids == self._seen and len(self._nodes) == len(ids):
            return
        nodes = {name: node for name, node in self._nodes.items() if node in ids}
        self._add(nodes, self._ask(grid, sorted(ids - set(nodes.values())), timeout))
        self._seen = ids

    def gather(self, grid: Grid, least: int, left_out: Set[str] = frozenset(), *, pause: float = 1.0) -> None:
        """Update the roster for a round.

        If devices join by name, they come and go, so a round waits until there are enough of them.
        Otherwise the round starts with the available clients.

        Args:
            least: number of clients that a round needs.
            left_out: clients that are not asked any more, and are not counted here.
        """
        self.refresh(grid)
        waits = False
        while self._joined is not None and (there := len(set(self._names) - left_out)) < least:
            if not waits:
                log.warning("%d of the %d clients that a round needs are connected: it waits", there, least)
            waits = True
            time.sleep(pause)
            self.refresh(grid)

    def _take_over(self, known: Sequence[str], ids: Iterable[int]) -> None:
        if isinstance(known, ClientNames) and isinstance(ids, range):
            # Both are sorted and indexable, so even a million of them need no copy.
            self._names, self._nodes = known, _Numbered(known, ids)
        else:
            self._add({}, zip(ids, known, strict=True))
        self._known = known

    def _add(self, nodes: dict[str, int], found: Iterable[tuple[int, str]]) -> None:
        for node, name in found:
            if name in nodes:
                log.warning("node %d says it is client %r, which is already connected: ignored", node, name)
            else:
                nodes[name] = node
        self._nodes, self._names = nodes, tuple(sorted(nodes))

    def wait(self, grid: Grid, clients: int, *, timeout: float | None = None, pause: float = 1.0) -> None:
        """Wait until that many clients are available.

        Raises:
            TimeoutError: there are too few after `timeout` seconds.
            EveryClientFailed: enough nodes are connected, but all refuse, and for the same reason.
        """
        started = time.monotonic()
        while True:
            self.refresh(grid)
            if len(self._names) >= clients:
                return
            if not self._names and len(self._refusals) >= clients and (why := same_refusal(self._refusals)):
                raise EveryClientFailed(f"none of the {len(self._refusals)} clients takes part: {why}")
            if timeout is not None and time.monotonic() - started > timeout:
                raise TimeoutError(
                    f"{len(self._names)} clients are connected after {timeout:g} s; {clients} are needed"
                )
            time.sleep(pause)

    def _ask(self, grid: Grid, nodes: Sequence[int], timeout: float) -> Iterator[tuple[int, str]]:
        self._refusals = {}
        joined = None if self._joined is None else self._joined()
        questions = [
            instruction(grid, RecordDict(), node, "query", timeout=timeout)
            for node in nodes
            if joined is None or node in joined
        ]
        for node, reply in exchange(grid, questions, timeout):
            if reply is None or reply.has_error():
                self._refusals[node] = NO_REPLY if reply is None else failure(reply.error)
                log.warning("node %d does not say which client it is: %s", node, self._refusals[node])
                continue
            try:
                name = unpack_identity(from_flower(reply.content))
                if joined is not None and name != joined[node]:
                    raise PayloadError(f"it says that it is {name!r}, but it has joined as {joined[node]!r}")
                yield node, name
            except PayloadError as error:
                self._refusals[node] = said(str(error))
                log.warning("node %d does not say which client it is: %s", node, self._refusals[node])
        told = {
            (joined or {}).get(node, str(node)): why
            for node, why in sorted(self._refusals.items())
            if not is_absence(why)
        }
        if told != self._told:
            self._told = told
            self._tell(told)


class _Numbered(Mapping[str, int]):
    def __init__(self, names: ClientNames, nodes: range) -> None:
        self._names, self._numbers = names, nodes

    def __getitem__(self, name: str) -> int:
        try:
            return self._numbers[self._names.index(name)]
        except ValueError as error:
            raise KeyError(name) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
