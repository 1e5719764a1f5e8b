"""What a client keeps from one round to the next, such as a residual.

A store keeps the states of the last two rounds that the client trained in, and
returns the newest one from *before* a given round. So a round that is run again,
because the server was killed before it could save, starts from the same state as
the first time.

A state has a part for everything that keeps state: `"pipeline"` (residuals), each
stream by its name (such as `"control"`), `"trainer"` and `"account"`. The parts
are independent of each other.
"""

import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from hedgerow.files import PRIVATE, file_name, private_folder, write_whole
from hedgerow.sealed import Damaged, sealed, unsealed
from hedgerow.secure.errors import Refused
from hedgerow.types import Arrays

State: TypeAlias = Mapping[str, Arrays]
"""`{part: {name: array}}`."""


class LostState(Refused):
    """The client's state of its last round cannot be read; it will continue from the one before."""


class ClientState(Protocol):
    """Where one client's state is stored."""

    def load(self, round: int) -> State:
        """The newest state from before a round; empty for a new client."""

    def save(self, round: int, state: State) -> None:
        """Keep the state at the end of a round."""


def flat(state: State) -> Arrays:
    """The state as named arrays, `part/name`.

    >>> list(flat({"pipeline": {"0.residual": np.zeros(2)}}))
    ['pipeline/0.residual']
    """
    return {f"{part}/{name}": values for part, arrays in state.items() for name, values in arrays.items()}


def parted(arrays: Arrays) -> State:
    """Undo `flat`; also reads a state that Hedgerow 0.1 has written.

    >>> list(parted({"control.own": np.zeros(2), "0.residual": np.zeros(2)}))
    ['control', 'pipeline']
    """
    state: dict[str, dict[str, NDArray[Any]]] = {}
    for key, values in arrays.items():
        part, slash, name = key.partition("/")
        if not slash:
            part, name = _as_in_0_1(key)
        state.setdefault(part, {})[name] = values
    return state


def _as_in_0_1(key: str) -> tuple[str, str]:
    if key.startswith("control."):
        return "control", key.removeprefix("control.")
    return ("account", "rounds") if key == "samples.rounds" else ("pipeline", key)


class MemoryState:
    """Keeps the state in this process."""

    def __init__(self) -> None:
        self._states: dict[int, State] = {}

    def load(self, round: int) -> State:
        """The newest state from before `round`."""
        return self._states.get(max((r for r in self._states if r < round), default=0), {})

    def save(self, round: int, state: State) -> None:
        """Keep the state of `round` and the one before it."""
        before = sorted(r for r in self._states if r < round)[-1:]
        self._states = {r: self._states[r] for r in before} | {round: state}


class FolderState:
    """Keeps the state in files, so that it survives restarts of the process and the device.

    Args:
        folder: created if missing.
        client: stable name of the client.
    """

    def __init__(self, folder: Path, client: str) -> None:
        self._folder = folder / file_name(client)

    def load(self, round: int) -> State:
        """The newest state from before `round`.

        Raises:
            LostState: it cannot be read. It is removed, so that the next round starts from an older
                state; this one fails rather than do so silently.
        """
        number = max((number for number in self._files() if number < round), default=None)
        if number is None:
            return {}
        path = self._files()[number]
        try:
            return parted(load(unsealed(path.read_bytes())))
        except (SafetensorError, Damaged) as error:
            path.unlink()
            raise LostState(f"the client's state of round {number} cannot be read: {error}") from error

    def save(self, round: int, state: State) -> None:
        """Keep the state of `round` and the one before it; the file appears whole or not at all."""
        private_folder(self._folder)
        packed = save({name: np.asarray(values, order="C") for name, values in flat(state).items()})
        write_whole(self._folder / f"{round}.safetensors", sealed(packed), durable=False, mode=PRIVATE)
        keep = [round, *sorted(r for r in self._files() if r < round)[-1:]]
        for other, path in self._files().items():
            if other not in keep:
                path.unlink()

    @property
    def path(self) -> Path:
        """The client's folder, which may not exist yet."""
        return self._folder

    def file(self, name: str) -> Path:
        """The path of another file in the client's folder, which is created."""
        return private_folder(self._folder) / name

    def rounds(self) -> list[int]:
        """The rounds whose states are kept, in order."""
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


Note: TypeAlias = Mapping[str, Any]
"""A small record: booleans, integers, strings and bytes by name."""


@final
@dataclass(frozen=True)
class StateStore:
    """All that one client keeps.

    Attributes:
        rounds: its state from one round to the next.
        notes: small records by name, kept between the stages of a masked round.
        constants: folder of the models' constants; `None` keeps them among the notes.
    """

    rounds: ClientState = field(default_factory=MemoryState)
    notes: MutableMapping[str, Note] = field(default_factory=dict)
    constants: Path | None = None
