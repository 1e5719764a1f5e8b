"""A client on a Flower node: its state in Flower's context, and its node configuration."""

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from typing import TypeAlias, final

from flwr.app import ArrayRecord, ConfigRecord, Context, RecordDict

from hedgerow.client.constants import NAME as CONSTANTS
from hedgerow.client.guard import Guard
from hedgerow.client.secure.enrolment import Enrolment, load_enrolment
from hedgerow.client.state import FolderState, Note, State, StateStore, flat, parted
from hedgerow.records import pack_state, unpack_state
from hedgerow.secure.errors import Malformed, UnknownIdentity

_RUNS = 8
"""The number of runs whose client state a device keeps."""

Enrol: TypeAlias = Callable[[Context, str], Enrolment]
"""`(context, client name) -> enrolment`."""


class ContextState:
    """Keeps the state in Flower's context: in memory, as long as the node lives."""

    _PREFIX = "hedgerow.state."

    def __init__(self, context: Context) -> None:
        self._records = context.state

    def load(self, round: int) -> State:
        """The newest state from before `round`."""
        earlier = [r for r in self.rounds() if r < round]
        if not earlier:
            return {}
        record = self._records[self._PREFIX + str(max(earlier))]
        assert isinstance(record, ArrayRecord)
        return parted(unpack_state(record))

    def save(self, round: int, state: State) -> None:
        """Keep the state of `round` and the one before it."""
        keep = [r for r in self.rounds() if r < round][-1:]
        for other in self.rounds():
            if other not in keep:
                del self._records[self._PREFIX + str(other)]
        self._records[self._PREFIX + str(round)] = pack_state(flat(state))

    def rounds(self) -> list[int]:
        """The rounds whose states are kept, in order."""
        return sorted(int(k.removeprefix(self._PREFIX)) for k in self._records if k.startswith(self._PREFIX))


@final
class ContextNotes(MutableMapping[str, Note]):
    """Keeps small records in Flower's context."""

    def __init__(self, context: Context) -> None:
        self._records: RecordDict = context.state

    def __getitem__(self, name: str) -> Note:
        return dict(self._records.config_records[name])

    def __setitem__(self, name: str, note: Note) -> None:
        self._records[name] = ConfigRecord(dict(note))

    def __delitem__(self, name: str) -> None:
        del self._records.config_records[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records.config_records)

    def __len__(self) -> int:
        return len(self._records.config_records)


def state_store(context: Context, folder: Path | None, client: str, device: Path | None = None) -> StateStore:
    """Where a client keeps its state: in files if there is a folder for them, else in the context.

    Args:
        folder: of all clients' states.
        device: the device's own folder, for models' constants and, if there is no
            `folder`, for the client's state in each of the last runs.
    """
    notes = ContextNotes(context)
    if folder is not None:
        rounds = FolderState(folder, client)
        return StateStore(rounds, notes, (device or rounds.path) / CONSTANTS)
    if device is None:
        return StateStore(ContextState(context), notes)
    # Every run numbers its rounds from 1, so it must not find another run's state.
    rounds = FolderState(device / "states", f"{context.run_id} {client}")
    _forget_old_runs(rounds.path)
    return StateStore(rounds, notes, device / CONSTANTS)


def _forget_old_runs(now: Path) -> None:
    """Remove the states of all but this run and the last few others that were saved."""
    others = [path for path in now.parent.glob("*") if path != now]
    with suppress(FileNotFoundError):  # another process may be removing them too
        for path in sorted(others, key=lambda path: path.stat().st_mtime_ns)[: 1 - _RUNS]:
            rmtree(path, ignore_errors=True)


def account_file(guard: Guard | None, folder: Path | None, client: str) -> Path | None:
    """The account file of a client's samples: its device's, or one beside its state; else `None`."""
    if guard is not None and guard.samples_file is not None:
        return guard.samples_file
    return None if folder is None else FolderState(folder, client).file("privacy.jsonl")


def node_enrolment(context: Context, name: str) -> Enrolment:
    """The enrolment in the folder that the node configuration names, as `enrolment="FOLDER"`.

    Raises:
        UnknownIdentity: it names no folder.
        Malformed: the enrolment cannot be read.
    """
    folder = context.node_config.get("enrolment")
    if not folder:
        raise UnknownIdentity(
            f"client {name!r} has no identity; start the SuperNode with --node-config"
            " 'enrolment=\"FOLDER\"', a folder with identity.key and register.toml"
        )
    first = context.node_config.get("trust-on-first-use", False)
    if not isinstance(first, bool):  # any string, even "false", would count as true
        raise Malformed(
            f"trust-on-first-use is {first!r} in the node configuration; it must be true or false"
        )
    return load_enrolment(Path(str(folder)), trust_on_first_use=first)
