"""What a client keeps from one round to the next, such as a residual.

A store keeps the states of the last two rounds that the client trained in, and
hands out the newest from *before* the round that is asked for. So a round that
is run again, because the server was killed before it could save, starts from
the state that it started from the first time.

A state has a part for each that keeps something: `"pipeline"` (residuals), each
stream by its name (such as `"control"`), `"trainer"` and `"account"`. Parts know
nothing of each other.
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
    """What a client carried from its last round cannot be read; it goes on from what it has before that."""


class ClientState(Protocol):
    """Where one client's state lies."""

    def load(self, round: int) -> State:
        """The newest state from before a round; empty for a fresh client."""

    def save(self, round: int, state: State) -> None:
        """Keep the state that a round ended with."""


def flat(state: State) -> Arrays:
    """The state as named arrays, `part/name`.

    >>> list(flat({"pipeline": {"0.residual": np.zeros(2)}}))
    ['pipeline/0.residual']
    """
    return {f"{part}/{name}": values for part, arrays in state.items() for name, values in arrays.items()}


def parted(arrays: Arrays) -> State:
    """Undo `flat`; a state that Hedgerow 0.1 has written is read too.

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
    """Keeps the state in files, so that it outlives the process and the device's next start.

    Args:
        folder: is made where it is not there.
        client: stable name of the client.
    """

    def __init__(self, folder: Path, client: str) -> None:
        self._folder = folder / file_name(client)

    def load(self, round: int) -> State:
        """The newest state from before `round`.

        Raises:
            LostState: it cannot be read, and is taken away: a round is not answered from an older one
                without a word, the next one is.
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
        """The client's folder, which may not be there yet."""
        return self._folder

    def file(self, name: str) -> Path:
        """Where the client keeps something else, in its folder, which is made."""
        return private_folder(self._folder) / name

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


Note: TypeAlias = Mapping[str, Any]
"""A small record: truth values, whole numbers, texts and bytes by name."""


@final
@dataclass(frozen=True)
class StateStore:
    """All that one client keeps.

    Attributes:
        rounds: what it carries from one round to the next.
        notes: small records by name: what it keeps between the stages of a masked round.
        constants: folder of the models' constants; `None` keeps them among the notes.
    """

    rounds: ClientState = field(default_factory=MemoryState)
    notes: MutableMapping[str, Note] = field(default_factory=dict)
    constants: Path | None = None
