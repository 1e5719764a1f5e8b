"""A client on a Flower node: what it keeps in Flower's context, and what the node configuration says."""

from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import TypeAlias, final

from flwr.app import ArrayRecord, ConfigRecord, Context, RecordDict

from hedgerow.client.secure.enrolment import Enrolment, load_enrolment
from hedgerow.client.state import FolderState, Note, State, StateStore, flat, parted
from hedgerow.records import pack_state, unpack_state
from hedgerow.secure.errors import Malformed, UnknownIdentity

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
        """The rounds whose states are here, in order."""
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


def state_store(context: Context, folder: Path | None, client: str) -> StateStore:
    """What a client keeps: in a folder of all clients what it carries along, else all in the context."""
    rounds = ContextState(context) if folder is None else FolderState(folder, client)
    return StateStore(rounds, ContextNotes(context))


def node_enrolment(context: Context, name: str) -> Enrolment:
    """The enrolment in the folder that the node configuration names, as `enrolment="FOLDER"`.

    Raises:
        UnknownIdentity: it names none.
        Malformed: the enrolment cannot be read.
    """
    folder = context.node_config.get("enrolment")
    if not folder:
        raise UnknownIdentity(
            f"client {name!r} has no identity; start the SuperNode with --node-config"
            " 'enrolment=\"FOLDER\"', a folder with identity.key and register.toml"
        )
    first = context.node_config.get("trust-on-first-use", False)
    if not isinstance(first, bool):  # any text, "false" too, would be true
        raise Malformed(
            f"trust-on-first-use is {first!r} in the node configuration; it must be true or false"
        )
    return load_enrolment(Path(str(folder)), trust_on_first_use=first)
