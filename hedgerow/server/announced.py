"""The announcement of a masked round, saved before its first message so that the server can resume the round.

A device answers each round of a run only once. If the server drew another
cohort, or chose another name for the run, it could get two different sums of the
same updates, and learn from the difference; an honest server does not ask for
that.
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
    """The name of the run in a folder, 32 hex digits; created on the first call.

    Raises:
        ValueError: the existing file does not hold a name.
        OSError: it cannot be written.
    """
    file = folder / RUN
    if not file.exists():
        made = secrets.token_hex(16)
        write_whole(file, f"{made} {_check_of(made)}\n".encode())
    found, _, told = file.read_bytes().decode("ascii", "replace").strip().partition(" ")
    if not re.fullmatch("[0-9a-f]{32}", found) or (told and told != _check_of(found)):
        raise ValueError(
            f"{file} holds {found[:40]!r}, not the 32 hex digits that were written to it: restore it from a"
            " copy"
        )
    return found


def _check_of(name: str) -> str:
    """Checksum of a name: if a digit changed unnoticed, devices would take it for another run."""
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
    """The last announced masked round of a purpose; without a folder, nothing outlives the process.

    Attributes:
        run: name of the run in the protocol, the same in all of its rounds of this purpose.
        folder: of the run.
        purpose: of the rounds.
    """

    run: str
    folder: Path | None = None
    purpose: str = TRAIN

    @classmethod
    def of(cls, folder: Path | None, purpose: str = TRAIN) -> "Announced":
        """The announcements of the run in a folder, or of a new run; raises `ValueError` and `OSError`."""
        run = secrets.token_hex(16) if folder is None else run_id(folder)
        return cls(name_of(run, purpose), folder, purpose)

    def cohort(self, round: int) -> tuple[str, ...] | None:
        """The cohort announced for a round; `None` if none was."""
        found = self._read()
        return found.cohort if found and found.round == round else None

    def announce(self, setup: Setup) -> str:
        """Save an announcement before it is sent; returns why it must not be sent, or an empty string.

        Raises:
            OSError: it cannot be written.
        """
        now = _Round(setup.round, setup.run, setup.members, setup.model.hex())
        if (found := self._read()) and found.round == setup.round and found != now:
            return (
                f"round {setup.round} was announced before with another model or cohort, and no device"
                " answers a round twice"
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
        """The saved announcement; an unreadable file is an error, as the round might be asked for twice."""
        file = self._file
        if file is None or not file.exists():
            return None
        try:
            found = check(json.loads(file.read_bytes()))
            return _Round(found["round"], found["run"], tuple(found["cohort"]), found["model"])
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{file} cannot be read: {error}; restore it from a copy") from error
