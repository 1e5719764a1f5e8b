"""Promoted models in a folder, of a federation or of a run, and the way back.

    promotions.jsonl          promotions, rejections and rollbacks, one line each; append-only
    models/DIGEST.safetensors each promoted model, by its hash

A model is on disk before the line that promotes it, and a line is written whole or not at all: if killed at
any moment, the current model is either the old one or the new one.
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
    """An operation on the promoted models cannot be done; the error says why."""


@final
class Shelf:
    """The promoted models of a folder.

    The last five models are kept for rollbacks.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def file(self) -> Path:
        """The file that records promotions."""
        return self.folder / FILE

    def standing(self) -> list[Promotion]:
        """The promotions that were not rolled back, in order; the last one is current.

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
        """The current promotion; `None` before the first. Raises `ShelfError`."""
        standing = self.standing()
        return standing[-1] if standing else None

    def path(self, model: str) -> Path:
        """The file of the model with this hash."""
        return self.folder / MODELS / f"{model}.safetensors"

    def content(self, promotion: Promotion) -> bytes:
        """The model's file.

        Raises:
            ShelfError: it is missing, or has changed.
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
            make: `(number, time, model's hash, size) -> promotion`.

        Raises:
            ShelfError: the record of promotions cannot be read.
            OSError: it cannot be written; the current model stays.
        """
        digest = hashlib.sha256(content).hexdigest()
        with self._alone():
            self.standing()  # raises if the existing record cannot be trusted
            promotion = make(len(self._lines()) + 1, _now(), digest, len(content))
            file = self.path(digest)
            file.parent.mkdir(exist_ok=True)
            if not file.exists() or file.read_bytes() != content:
                write_whole(file, content)
            append_line(self.file, json.dumps({_PROMOTED: promotion.to_json()}))
            self._prune()
        return promotion

    def refuse(self, content: bytes, round: int, why: str, rule: Mapping[str, Any]) -> None:
        """Record that a candidate was rejected; raises `OSError`."""
        digest = hashlib.sha256(content).hexdigest()
        said = {"model": digest, "round": round, "time": _now(), "why": why, "rule": dict(rule)}
        with self._alone():
            append_line(self.file, json.dumps({_REFUSED: said}))

    def rollback(self) -> tuple[Promotion, Promotion]:
        """Roll back to the previous model; returns the promotions before and after.

        Raises:
            ShelfError: there is no previous promotion, or its model is missing.
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
