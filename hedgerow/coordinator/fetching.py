"""A grid that knows what devices have fetched beside their messages."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import final

from flwr.serverapp import Grid

from hedgerow.coordinator.graphs import GraphStore
from hedgerow.files import write_whole
from hedgerow.grids import GridAround

_COUNTED = "graphs-counted.json"


@final
class FetchingGrid(GridAround):
    """Counts the graphs that devices were sent since the run began, each time once.

    Args:
        grid: the wrapped one.
        store: of the federation.
        run: the run's folder, in which it remembers what was counted.
        digest: hash of the run's graphs.
    """

    def __init__(self, grid: Grid, store: GraphStore, run: Path, digest: str) -> None:
        super().__init__(grid)
        self._store, self._file, self._digest = store, run / _COUNTED, digest
        self._counted = self._read = self._begun()

    def fetched(self) -> Mapping[str, int]:
        """`{device: bytes}` since `saved` was last called."""
        found, self._read = Counter[str](), self._counted
        for digest, name, size in self._store.handed(self._counted):
            self._read += 1
            if digest == self._digest:
                found[name] += size
        return found

    def saved(self) -> None:
        """What `fetched` has returned is in the run's ledger now."""
        if self._read != self._counted:
            self._counted = self._read
            self._write(self._counted)

    def _begun(self) -> int:
        """How much was counted; or, where that is not known, what was handed out before."""
        try:
            return int(json.loads(self._file.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            before = sum(1 for _ in self._store.handed(0))
            self._write(before)
            return before

    def _write(self, counted: int) -> None:
        write_whole(self._file, json.dumps(counted).encode())
