"""What was announced of a masked round, before its first message: after a crash the server goes on with it.

A device answers a round of a run once. If the server drew another cohort, or
took another name for the run, it could have the same updates summed in two
ways, and learn from the difference; an honest one does not ask for that.
"""

import hashlib
import json
import re
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

from hedgerow.files import PRIVATE, write_whole
from hedgerow.sealed import check, seal
from hedgerow.secure.messages import TRAIN, Setup, name_of

RUN, FILE = "run-id", "announced.json"


def run_id(folder: Path) -> str:
    """The name of the run in a folder, 32 hex digits; made when it is first asked for.

    Raises:
        ValueError: the file that is there holds none.
        OSError: it cannot be written.
    """
    file = folder / RUN
    if not file.exists():
        made = secrets.token_hex(16)
        write_whole(file, f"{made} {_check_of(made)}\n".encode())
    found, _, told = file.read_bytes().decode("ascii", "replace").strip().partition(" ")
    if not re.fullmatch("[0-9a-f]{32}", found) or (told and told != _check_of(found)):
        raise ValueError(
            f"{file} holds {found[:40]!r}; it must be the 32 hex digits that were written: restore it from a"
            " copy"
        )
    return found


def _check_of(name: str) -> str:
    """By which a name of which a digit has changed is noticed: devices would take it for another run."""
    return hashlib.sha256(name.encode()).hexdigest()[:8]


@dataclass(frozen=True)
class _Round:
    round: int
    run: str
    cohort: tuple[str, ...]
    model: str


@final
@dataclass(frozen=True)
class Announced:
    """The last masked round of a purpose that was announced; with no folder nothing outlives the process.

    Attributes:
        run: name of the run in the protocol, which all of its rounds of this purpose have.
        folder: of the run.
        purpose: of the rounds.
    """

    run: str
    folder: Path | None = None
    purpose: str = TRAIN

    @classmethod
    def of(cls, folder: Path | None, purpose: str = TRAIN) -> "Announced":
        """What the run in a folder has announced, or a new run; raises `ValueError` and `OSError`."""
        run = secrets.token_hex(16) if folder is None else run_id(folder)
        return cls(name_of(run, purpose), folder, purpose)

    def cohort(self, round: int) -> tuple[str, ...] | None:
        """Who was to take part in a round; `None` where it was not announced."""
        found = self._read()
        return found.cohort if found and found.round == round else None

    def announce(self, setup: Setup) -> str:
        """Write down what will be sent; why it must not be, where the round was announced otherwise before.

        Raises:
            OSError: it cannot be written.
        """
        now = _Round(setup.round, setup.run, setup.members, setup.model.hex())
        if (found := self._read()) and found.round == setup.round and found != now:
            return (
                f"round {setup.round} was announced before with another model or cohort, and no device"
                " answers it twice"
            )
        if self._file is not None:
            write_whole(self._file, json.dumps(seal(asdict(now))).encode(), mode=PRIVATE)
        return ""

    @property
    def _file(self) -> Path | None:
        if self.folder is None:
            return None
        return self.folder / (FILE if self.purpose == TRAIN else f"{self.purpose}-{FILE}")

    def _read(self) -> _Round | None:
        """What the file holds; one that cannot be read is an error, for to go on could mean to ask twice."""
        file = self._file
        if file is None or not file.exists():
            return None
        try:
            found = check(json.loads(file.read_bytes()))
            return _Round(found["round"], found["run"], tuple(found["cohort"]), found["model"])
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{file} cannot be read: {error}; restore it from a copy") from error
