"""A client's record of the secure rounds it has answered and the keys it has learned."""

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
    """A client's memory of secure rounds.

    Each change is on disk when its method returns, and concurrent changes by two
    processes are made one after the other.

    Args:
        notes: hold the memory if there is no folder, for as long as the node lives.
        folder: holds it so that it survives restarts and power cuts.
        client: stable name of the client.
    """

    def __init__(self, notes: MutableMapping[str, Note], folder: Path | None, client: str) -> None:
        self._notes = notes
        self._file = None if folder is None else folder / file_name(client) / "secure.json"

    def join(self, run: str, round: int, min_separation: int = 1) -> bytes:
        """Record a round before joining it; returns the salt for encrypting the round's secrets.

        The salt of the last round, of whatever run, is forgotten, and with it what
        is left of that round's secrets.

        Raises:
            AskedTooOften: the last round was less than `min_separation` rounds ago.
            AlreadyAnswered: the client has joined this round before.
            StaleRound: the client has joined a later round of the run.
        """
        with self._changed() as told:
            last, _ = told["runs"].pop(run, (0, 0))
            if round == last:
                raise AlreadyAnswered(f"round {round} was already answered; a client answers each round once")
            if round < last:
                raise StaleRound(f"round {round} is asked for after round {last}, which was already answered")
            if last and round < last + min_separation:
                raise AskedTooOften(
                    f"round {round} is too soon after round {last}, which was answered; a client's rounds"
                    f" must be {min_separation} rounds apart, by the strategy's sampling"
                )
            told["runs"] = dict([*told["runs"].items(), (run, (round, 0))][-_MOST_RUNS:])
            salt = os.urandom(16)
            told["open"] = (run, round, salt.hex())
        return salt

    def claim(self, run: str, round: int, stage: int) -> None:
        """Record a stage of a round (after the first, 0) before answering it.

        Raises:
            AlreadyAnswered: the stage was answered before.
            OutOfOrder: the stage before it was not answered.
            StaleRound: the client has since joined another round of the run, or never joined this one.
        """
        with self._changed() as told:
            last, answered = told["runs"].get(run, (0, 0))
            if round != last:
                raise StaleRound(f"round {round} is asked for, but this client last joined round {last}")
            if stage <= answered:
                raise AlreadyAnswered(f"this stage of round {round} was already answered; each is, once")
            if stage > answered + 1:
                raise OutOfOrder(f"the stage of round {round} before this one was not answered")
            told["runs"][run] = (round, stage)

    def salt(self, run: str, round: int) -> bytes:
        """The salt of a round; raises `OutOfOrder` if it is not the round in progress."""
        under_way = self._load()["open"]
        if under_way[:2] != (run, round):
            raise OutOfOrder(
                f"nothing is left of round {round}: it has ended, or this client has since joined another"
            )
        return bytes.fromhex(under_way[2])

    def forget(self, run: str) -> None:
        """Forget the salt of a run's round, which makes all copies of its secrets unreadable."""
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
        """The memory, to be changed; saved unless an error is raised."""
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
            # Continuing without it could mean answering twice.
            raise Malformed(
                f"{self._file} cannot be read: {error}; move it away, and start a new run"
            ) from error


def _checked(told: Any) -> Told:
    """Convert what was read to the right types; raises an error where that fails."""
    run, round, salt = told["open"]
    return {
        "runs": {str(name): (int(last), int(stage)) for name, (last, stage) in told["runs"].items()},
        "keys": {str(name): bytes.fromhex(key).hex() for name, key in told["keys"].items()},
        "open": (str(run), int(round), bytes.fromhex(salt).hex()),
    }
