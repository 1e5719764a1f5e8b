"""The state of all clients of a simulation, in files, for clients that cannot write files themselves."""

import logging
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import final

from flwr.app import Context, RecordDict

from hedgerow.client.flower import ContextState
from hedgerow.client.state import FolderState

_log = logging.getLogger(__name__)


@final
class FolderStates(MutableMapping[int, RecordDict]):
    """Saves the state in clients' contexts in the files that `FolderState` would write.

    Clients on a cluster share no folder: they keep their state in their context,
    and it is saved here, where the run is driven from. So a run in a folder can
    continue wherever its clients run next. If a state cannot be written, that is
    logged, and the state is kept in memory.

    Args:
        folder: of all clients; created if missing.
        name: stable name of the client at a node.
    """

    def __init__(self, folder: Path, name: Callable[[int], str]) -> None:
        self._folder, self._name = folder, name
        self._unsaved: dict[int, RecordDict] = {}

    def __getitem__(self, node: int) -> RecordDict:
        if node in self._unsaved:
            return self._unsaved[node]
        files = FolderState(self._folder, self._name(node))
        context = _context(RecordDict())
        for round in files.rounds():
            ContextState(context).save(round, files.load(round + 1))
        if not context.state:
            raise KeyError(node)
        return context.state

    def __contains__(self, node: object) -> bool:
        return isinstance(node, int) and (
            node in self._unsaved or bool(FolderState(self._folder, self._name(node)).rounds())
        )

    def __setitem__(self, node: int, state: RecordDict) -> None:
        kept, files = ContextState(_context(state)), FolderState(self._folder, self._name(node))
        newest = kept.rounds()[-1]
        try:
            files.save(newest, kept.load(newest + 1))
        except OSError as error:
            _log.warning("the state of %s is not saved: %s; the run continues", self._name(node), error)
            self._unsaved[node] = state
        else:
            self._unsaved.pop(node, None)

    def __delitem__(self, node: int) -> None:
        if node not in self:
            raise KeyError(node)
        self._unsaved.pop(node, None)
        FolderState(self._folder, self._name(node)).clear()

    def __iter__(self) -> Iterator[int]:
        """Not supported: files are named after clients, not nodes."""
        raise TypeError("files are named after clients, not nodes; look up single nodes")

    def __len__(self) -> int:
        raise TypeError("nodes are known here only once they are looked up")


def _context(state: RecordDict) -> Context:
    return Context(run_id=0, node_id=0, node_config={}, state=state, run_config={})
