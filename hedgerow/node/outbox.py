"""Messages that a device has not answered yet, and answers, saved before they are sent.

A server hands out each message once, and a device may be killed at any moment. So a message is
saved before it is worked on, and its answer before it is sent; the message is deleted when the server
has the answer. The answer stays for a while, so that an identical request gets the same bytes again.
"""

import hashlib
import json
import time
from base64 import b64decode, b64encode
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

from hedgerow.files import PRIVATE, private_folder, write_whole
from hedgerow.sealed import Damaged, check, seal, sealed, unsealed
from hedgerow.secure.errors import AlreadyAnswered, Malformed, StaleRound

_MOST_ANSWERS, _MOST_BYTES = 32, 256 * 2**20
_MOST_RUNS = 512
"""Names of runs in the masked protocol: 256 runs in which models are measured have two each."""


@final
@dataclass(frozen=True)
class Pending:
    """A message that has arrived.

    Attributes:
        id: of the message.
        message: its envelope, as the server sent it.
        tree: of its objects.
        answer: key of the answer in the outbox; empty if it was refused, or not answered yet.
        error: why it was refused; empty if it was not.
        made: when the answer was made, in seconds since 1970; 0 if there is none yet.
        seconds: that the answer took.
        bundled: whether the server reads bundles.
        reply: the id of an answer in its envelope; empty if the server has named none.
    """

    id: str
    message: bytes
    tree: bytes
    answer: str = ""
    error: str = ""
    made: float = 0.0
    seconds: float = 0.0
    bundled: bool = False
    reply: str = ""


@final
class Outbox:
    """The outbox, in its own folder; raises `OSError` if something cannot be written."""

    def __init__(self, folder: Path) -> None:
        self._pending = private_folder(folder / "pending")
        self._answers = private_folder(folder / "answers")
        self._claims = folder / "rounds.json"

    def pending(self) -> list[Pending]:
        """Messages that have arrived and are not finished, oldest first."""
        found = []
        for file in sorted(self._pending.glob("*.json"), key=lambda place: place.stat().st_mtime):
            try:
                given = check(json.loads(file.read_bytes()))
                plain = {**given, **{key: b64decode(given[key]) for key in ("message", "tree")}}
                come = Pending(**plain)
                lost = come.answer and self.answer(come.answer) is None
                found.append(replace(come, answer="", made=0.0) if lost else come)
            except (ValueError, TypeError, KeyError):  # torn by a power cut, or changed since
                file.unlink()
        return found

    def receive(self, message: Any, tree: Any) -> Pending:
        """Save a message."""
        come = Pending(message.metadata.message_id, message.SerializeToString(), tree.SerializeToString())
        self._write(come)
        return come

    def settle(self, come: Pending, *, answer: str = "", error: str = "", seconds: float = 0.0) -> Pending:
        """Save the answer to a message, which from now on is fixed to the last byte."""
        settled = replace(come, answer=answer, error=error, made=time.time(), seconds=seconds)
        self._write(settled)
        return settled

    def done(self, come: Pending) -> None:
        """Forget a message: the server has the answer, or no longer wants one."""
        self._file(come).unlink(missing_ok=True)

    def answer(self, key: str) -> bytes | None:
        """The answer to an earlier request; a file that has changed since counts as missing."""
        file = self._answers / key
        try:
            return unsealed(file.read_bytes(), always=True)
        except FileNotFoundError:
            return None
        except Damaged:
            file.unlink()
            return None

    def keep(self, key: str, answer: bytes) -> None:
        """Save an answer; the oldest are deleted if there are too many."""
        write_whole(self._answers / key, sealed(answer), mode=PRIVATE)
        needed = {come.answer for come in self.pending()} | {key}
        files = sorted(self._answers.iterdir(), key=lambda place: place.stat().st_mtime, reverse=True)
        size = 0
        for place, file in enumerate(files):
            size += file.stat().st_size
            if (place >= _MOST_ANSWERS or size > _MOST_BYTES) and file.name not in needed:
                file.unlink()

    def claim(self, run: str, round: int, key: str) -> None:
        """Record which request opens a masked round before answering it, so that no other can open it.

        Args:
            run: Hedgerow's, whatever token the masked protocol uses for it.
            round: of the run.
            key: of the request.

        Raises:
            AlreadyAnswered: another request has opened this round.
            StaleRound: a later round of the run was opened.
            Malformed: the file of opened rounds cannot be read.
        """
        try:
            claims = check(json.loads(self._claims.read_bytes())) if self._claims.exists() else {}
        except ValueError as error:  # continuing without it could mean opening a round twice
            raise Malformed(f"{self._claims} cannot be read: {error}; restore it from a copy") from error
        last, opened = claims.pop(run, (-1, ""))
        if round < last:
            raise StaleRound(f"round {round} is asked for after round {last}, which was already answered")
        if round == last and opened != key:
            raise AlreadyAnswered(f"round {round} was already opened by another request")
        claims = dict([*claims.items(), (run, (round, key))][-_MOST_RUNS:])
        write_whole(self._claims, json.dumps(seal(claims)).encode(), mode=PRIVATE)

    def _write(self, come: Pending) -> None:
        plain = {key: b64encode(value).decode() if isinstance(value, bytes) else value
                 for key, value in asdict(come).items()}  # fmt: skip
        write_whole(self._file(come), json.dumps(seal(plain)).encode(), mode=PRIVATE)

    def _file(self, come: Pending) -> Path:
        return self._pending / f"{hashlib.sha256(come.id.encode()).hexdigest()}.json"


def key_of(kind: str, run: str, request: bytes) -> str:
    """A hash, 64 hex digits, that two requests share only if they are identical.

    >>> key_of("train", "a", b"x") == key_of("train", "b", b"x")
    False
    """
    return hashlib.sha256(json.dumps([kind, run]).encode() + b"\0" + request).hexdigest()
