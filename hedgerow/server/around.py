"""A grid around another one, which does what that does."""

from collections.abc import Iterable

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run


class GridAround(Grid):
    """What passes everything on to the grid within; who derives from it changes what it is there for."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    @property
    def within(self) -> Grid:
        """The grid that it is around."""
        return self._grid

    def set_run(self, run: Run) -> None:
        """Of the grid within."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """Of the grid within."""
        return self._grid.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Of the grid within."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> list[int]:
        """Of the grid within."""
        return list(self._grid.get_node_ids())

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send messages; their ids, in order."""
        return list(self._grid.push_messages(messages))

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies that have come."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Not used here: `server.exchange` takes the replies one by one."""
        raise NotImplementedError("take the replies as they come, with server.exchange")
