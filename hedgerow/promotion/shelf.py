"""Promoted models in a folder, of a federation or of a run, and the way back.

    promotions.jsonl          what was promoted, refused and taken back, one line each; only ever added to
    models/DIGEST.safetensors each promoted model, by its hash

A model lies on the disk before the line that promotes it, and a line is there whole or not at all:
killed at any moment, the model that stands is the one of before or the one of after.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from hedgerow.files import append_line, locked, read_lines, write_whole
from hedgerow.promotion.lineage import Promotion

FILE, MODELS = "promotions.jsonl", "models"
_KEPT = 5
_PROMOTED, _BACK, _REFUSED = "promoted", "rolled_back_to", "refused"


class ShelfError(ValueError):
    """What is asked of the promoted models cannot be done; the error says why."""


@final
class Shelf:
    """The promoted models of a folder.

    Of the models that may come back, the last five are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def file(self) -> Path:
        """In which promotions are written down."""
        return self.folder / FILE

    def standing(self) -> list[Promotion]:
        """What was promoted and not taken back, in order; the last one stands.

        Raises:
            ShelfError: the file cannot be read.
        """
        found: list[Promotion] = []
        for place, line in enumerate(self._lines(), 1):
            try:
                said = json.loads(line)
                if _PROMOTED in said:
                    found.append(Promotion.from_json(said[_PROMOTED]))
                elif _REFUSED not in said:
                    while found[-1].number != said[_BACK]:
                        found.pop()
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise ShelfError(
                    f"line {place} of {self.file} cannot be read: {error}; restore it from a copy"
                ) from error
        return found

    def current(self) -> Promotion | None:
        """The one that stands; `None` before the first. Raises `ShelfError`."""
        standing = self.standing()
        return standing[-1] if standing else None

    def path(self, model: str) -> Path:
        """Where the model of that hash lies."""
        return self.folder / MODELS / f"{model}.safetensors"

    def content(self, promotion: Promotion) -> bytes:
        """The model's file.

        Raises:
            ShelfError: it is not there, or has changed.
        """
        file = self.path(promotion.model)
        try:
            content = file.read_bytes()
        except OSError as error:
            raise ShelfError(f"the promoted model {file} cannot be read: {error}") from error
        if hashlib.sha256(content).hexdigest() != promotion.model:
            raise ShelfError(f"the promoted model {file} has changed; promote it again from its run")
        return content

    def promote(self, content: bytes, make: Callable[[int, str, str, int], Promotion]) -> Promotion:
        """Promote a model.

        Args:
            content: of its safetensors file.
            make: the promotion, of its number, its time, the model's hash and its size.

        Raises:
            ShelfError: the file of before cannot be read.
            OSError: it cannot be written; what stood still stands.
        """
        digest = hashlib.sha256(content).hexdigest()
        with self._alone():
            self.standing()  # raises where what is there cannot be relied on
            promotion = make(len(self._lines()) + 1, _now(), digest, len(content))
            file = self.path(digest)
            file.parent.mkdir(exist_ok=True)
            if not file.exists() or file.read_bytes() != content:
                write_whole(file, content)
            append_line(self.file, json.dumps({_PROMOTED: promotion.to_json()}))
            self._prune()
        return promotion

    def refuse(self, content: bytes, round: int, why: str, rule: Mapping[str, Any]) -> None:
        """Write down that a candidate was not taken; raises `OSError`."""
        digest = hashlib.sha256(content).hexdigest()
        said = {"model": digest, "round": round, "time": _now(), "why": why, "rule": dict(rule)}
        with self._alone():
            append_line(self.file, json.dumps({_REFUSED: said}))

    def rollback(self) -> tuple[Promotion, Promotion]:
        """Go back to the model of before; returns what stood, and what stands now.

        Raises:
            ShelfError: there is none before it, or its model is not there any more.
            OSError: it cannot be written; what stood still stands.
        """
        with self._alone():
            standing = self.standing()
            if len(standing) < 2:
                raise ShelfError(
                    f"{self.folder} has {len(standing)} promoted model{'s' * (len(standing) != 1)}; there is"
                    " none to go back to"
                )
            self.content(standing[-2])
            append_line(self.file, json.dumps({_BACK: standing[-2].number, "time": _now()}))
            self._prune()
        return standing[-1], standing[-2]

    def _lines(self) -> list[bytes]:
        try:
            return read_lines(self.file)
        except OSError as error:
            raise ShelfError(f"{self.file} cannot be read: {error}") from error

    def _alone(self) -> Any:
        return locked(self.folder / "promotions.lock")

    def _prune(self) -> None:
        kept = {each.model for each in self.standing()[-_KEPT:]}
        for file in (self.folder / MODELS).iterdir():
            if file.name.partition(".")[0] not in kept:
                file.unlink(missing_ok=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
