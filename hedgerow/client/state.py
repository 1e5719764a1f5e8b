"""What a client keeps from one round to the next, such as a residual.

A store keeps the states of the last two rounds that the client trained in, and
hands out the newest from *before* the round that is asked for. So a round that
is run again, because the server was killed before it could save, starts from
the state that it started from the first time.
"""

import re
from pathlib import Path
from typing import Protocol

import numpy as np
from flwr.app import ArrayRecord, Context
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from hedgerow.array_records import pack_state, unpack_state
from hedgerow.files import file_name, write_whole
from hedgerow.types import Arrays


class ClientState(Protocol):
    """Where one client's state lies."""

    def load(self, round: int) -> Arrays:
        """The newest state from before a round; empty for a fresh client."""

    def save(self, round: int, state: Arrays) -> None:
        """Keep the state that a round ended with."""


class ContextState:
    """Keeps the state in Flower's context: in memory, as long as the node lives."""

    _PREFIX = "hedgerow.state."

    def __init__(self, context: Context) -> None:
        self._records = context.state

    def load(self, round: int) -> Arrays:
        """The newest state from before `round`."""
        earlier = [r for r in self.rounds() if r < round]
        if not earlier:
            return {}
        record = self._records[self._PREFIX + str(max(earlier))]
        assert isinstance(record, ArrayRecord)
        return unpack_state(record)

    def save(self, round: int, state: Arrays) -> None:
        """Keep the state of `round` and the one before it."""
        keep = [r for r in self.rounds() if r < round][-1:]
        for other in self.rounds():
            if other not in keep:
                del self._records[self._PREFIX + str(other)]
        self._records[self._PREFIX + str(round)] = pack_state(state)

    def rounds(self) -> list[int]:
        """The rounds whose states are here, in order."""
        return sorted(int(k.removeprefix(self._PREFIX)) for k in self._records if k.startswith(self._PREFIX))


class FolderState:
    """Keeps the state in files, so that it outlives the process and the device's next start.

    Args:
        folder: is made where it is not there.
        client: stable name of the client.
    """

    def __init__(self, folder: Path, client: str) -> None:
        self._folder = folder / file_name(client)

    def load(self, round: int) -> Arrays:
        """The newest state from before `round` that can be read."""
        for number, path in sorted(self._files().items(), reverse=True):
            if number < round:
                try:
                    return load_file(path)
                except SafetensorError:  # torn by a power cut
                    continue
        return {}

    def save(self, round: int, state: Arrays) -> None:
        """Keep the state of `round` and the one before it; the file appears whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        packed = save({name: np.ascontiguousarray(values) for name, values in state.items()})
        write_whole(self._folder / f"{round}.safetensors", packed, durable=False)
        keep = [round, *sorted(r for r in self._files() if r < round)[-1:]]
        for other, path in self._files().items():
            if other not in keep:
                path.unlink()

    def file(self, name: str) -> Path:
        """Where the client keeps something else, in its folder, which is made."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / name

    def rounds(self) -> list[int]:
        """The rounds whose states are here, in order."""
        return sorted(self._files())

    def clear(self) -> None:
        """Forget everything."""
        for path in self._files().values():
            path.unlink()

    def _files(self) -> dict[int, Path]:
        if not self._folder.is_dir():
            return {}
        matches = ((re.fullmatch(r"(\d+)\.safetensors", p.name), p) for p in self._folder.iterdir())
        return {int(m[1]): p for m, p in matches if m}
