"""What a client has answered and learnt: in a folder, or in memory."""

import json
import os
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from hedgerow.client.state import Note
from hedgerow.files import PRIVATE, file_name, locked, private_folder, write_whole
from hedgerow.sealed import check, seal
from hedgerow.secure.errors import AlreadyAnswered, AskedTooOften, Malformed, OutOfOrder, StaleRound

_KEY = "hedgerow.secure.memory"
_MOST_RUNS = 512
"""Names of runs in the protocol: 256 runs in which models are measured have two each."""
_EMPTY = '{"runs": {}, "keys": {}, "open": ["", 0, ""]}'

Told: TypeAlias = dict[str, Any]


class AnsweredRounds:
    """What a client remembers of secure rounds.

    Each change is on the disk when its method returns, and two processes that
    make one at once make one after the other.

    Args:
        notes: keep it where there is no folder, as long as the node lives.
        folder: keeps it so that it outlives the process and a power cut.
        client: stable name of the client.
    """

    def __init__(self, notes: MutableMapping[str, Note], folder: Path | None, client: str) -> None:
        self._notes = notes
        self._file = None if folder is None else folder / file_name(client) / "secure.json"

    def join(self, run: str, round: int, min_separation: int = 1) -> bytes:
        """Remember that a round is joined, before it is; returns the salt that its secrets are kept with.

        The last round's salt is forgotten, whichever run that was of, and with
        it what is left of that round's secrets.

        Raises:
            AskedTooOften: the last was fewer than `min_separation` rounds before.
            AlreadyAnswered: it was joined before.
            StaleRound: a later round of the run was joined before.
        """
        with self._changed() as told:
            last, _ = told["runs"].pop(run, (0, 0))
            if round == last:
                raise AlreadyAnswered(f"round {round} was answered before; a client answers each once")
            if round < last:
                raise StaleRound(f"round {round} comes after round {last}, which was answered before")
            if last and round < last + min_separation:
                raise AskedTooOften(
                    f"round {round} comes after round {last}, which was answered; two rounds of a client must"
                    f" be {min_separation} rounds apart, by the strategy's sampling"
                )
            told["runs"] = dict([*told["runs"].items(), (run, (round, 0))][-_MOST_RUNS:])
            salt = os.urandom(16)
            told["open"] = (run, round, salt.hex())
        return salt

    def claim(self, run: str, round: int, stage: int) -> None:
        """Remember that a stage after the first, 0, of a round is answered, before it is.

        Raises:
            AlreadyAnswered: it was answered before.
            OutOfOrder: the one before it was not.
            StaleRound: the client has joined another round of the run since, or never this one.
        """
        with self._changed() as told:
            last, answered = told["runs"].get(run, (0, 0))
            if round != last:
                raise StaleRound(f"round {round} is asked for, and this client joined {last} last")
            if stage <= answered:
                raise AlreadyAnswered(f"this stage of round {round} was answered before; each is, once")
            if stage > answered + 1:
                raise OutOfOrder(f"a stage of round {round} that comes before this one was not answered")
            told["runs"][run] = (round, stage)

    def salt(self, run: str, round: int) -> bytes:
        """The salt of a round; raises `OutOfOrder` where that is not the one under way."""
        under_way = self._load()["open"]
        if under_way[:2] != (run, round):
            raise OutOfOrder(
                f"nothing is left of round {round}: it has ended, or this client has joined another one since"
            )
        return bytes.fromhex(under_way[2])

    def forget(self, run: str) -> None:
        """Forget the salt of a run's round, and so its secrets, wherever a copy of them lies."""
        with self._changed() as told:
            if told["open"][0] == run:
                told["open"] = ("", 0, "")

    def learned(self) -> dict[str, bytes]:
        """Keys that were taken on first use."""
        return {name: bytes.fromhex(key) for name, key in self._load()["keys"].items()}

    def learn(self, name: str, key: bytes) -> None:
        """Keep a key that was taken on first use."""
        with self._changed() as told:
            told["keys"][name] = key.hex()

    @contextmanager
    def _changed(self) -> Iterator[Told]:
        """What is remembered, to be changed; kept where nothing is raised."""
        if self._file is None:
            yield (told := self._load())
            self._notes[_KEY] = {"told": json.dumps(told)}
            return
        private_folder(self._file.parent)
        with locked(self._file.with_suffix(".lock")):
            yield (told := self._load())
            write_whole(self._file, json.dumps(seal(told)).encode(), mode=PRIVATE)

    def _load(self) -> Told:
        text = _EMPTY
        try:
            if self._file is not None and self._file.exists():
                text = self._file.read_text(encoding="utf-8")
            elif self._file is None and _KEY in self._notes:
                text = str(self._notes[_KEY]["told"])
            return _checked(check(json.loads(text)))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            # To go on without it could mean to answer twice.
            raise Malformed(
                f"{self._file} cannot be read: {error}; move it away, and start a new run"
            ) from error


def _checked(told: Any) -> Told:
    """What was read, each part of the kind that it must be; an error where one is not."""
    run, round, salt = told["open"]
    return {
        "runs": {str(name): (int(last), int(stage)) for name, (last, stage) in told["runs"].items()},
        "keys": {str(name): bytes.fromhex(key).hex() for name, key in told["keys"].items()},
        "open": (str(run), int(round), bytes.fromhex(salt).hex()),
    }
