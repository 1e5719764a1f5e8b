"""A grid that wraps another one, which does the work."""

from collections.abc import Iterable, Iterator, Sequence

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run


class GridAround(Grid):
    """Base of wrappers: passes every call on to another grid.

    Args:
        grid: the wrapped one, which does the work.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    @property
    def within(self) -> Grid:
        """The wrapped grid."""
        return self._grid

    @property
    def layers(self) -> Iterator[Grid]:
        """The grid itself and all those within, outermost first."""
        grid: Grid = self
        while isinstance(grid, GridAround):
            yield grid
            grid = grid.within
        yield grid

    def set_run(self, run: Run) -> None:
        """Replace the description of the run."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """Description of the run."""
        return self._grid.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Make an instruction message."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Sequence[int]:
        """Ids of all nodes."""
        return list(self._grid.get_node_ids())

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages; returns their ids, in order."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies that have arrived."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Not used: `server.exchange` takes the replies one by one."""
        raise NotImplementedError("take the replies as they arrive, with server.exchange")
