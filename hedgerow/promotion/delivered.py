"""How a device gets the promoted model, and what it keeps.

    models/DIGEST.safetensors   the current model, and the one before it
    models/DIGEST.partial       one that is being fetched, in whole pieces
    promoted.json               both promotions; written once the model is complete

A model is data: named arrays of numbers, verified by their hash.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import final

from safetensors import SafetensorError, safe_open

from hedgerow.files import PRIVATE, private_folder, put_in_place, write_whole
from hedgerow.promotion.lineage import Promotion
from hedgerow.promotion.shelf import MODELS
from hedgerow.wire.text import read_json

log = logging.getLogger("hedgerow")

HEADER, PATH = "hedgerow-model", "/model"
PIECE = 4 * 2**20
"""Bytes of one piece: the part of a model that a gateway or a device holds in memory at a time."""

FILE = "promoted.json"
_LARGEST = 2**32
_MOST_NAMED = 2**20

Ask = Callable[[str], bytes]
"""`path -> body` of the coordinator's answer to a `GET`."""


class NotTaken(ValueError):
    """A model is not what the coordinator says it is."""


@final
class Delivered:
    """The promoted models in a device's folder.

    Args:
        folder: of the device.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def standing(self) -> list[Promotion]:
        """The current promotion, and the one before it; raises `ValueError` if they cannot be read."""
        file = self._folder / FILE
        if not file.exists():
            return []
        try:
            return [Promotion.from_json(each) for each in json.loads(file.read_bytes())]
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"{file} cannot be read: {error}; remove it, to fetch it again") from error

    def path(self, promotion: Promotion) -> Path:
        """The file of a promotion's model."""
        return self._folder / MODELS / f"{promotion.model}.safetensors"

    def has(self, model: str) -> bool:
        """Whether the model with this hash is the current one."""
        try:
            standing = self.standing()
        except ValueError:
            return False
        return bool(standing) and standing[0].model == model

    def fetch(self, ask: Ask) -> Promotion | None:
        """Take one step towards the coordinator's promoted model: fetch its description, or one piece.

        Returns:
            The promotion, once the model is complete; `None` if there is more to fetch.

        Raises:
            NotTaken: it is not what the coordinator says it is; what was fetched is deleted.
            OSError: it cannot be written; the current model stays.
        """
        said = ask(PATH)
        if len(said) > _MOST_NAMED:
            raise NotTaken("the coordinator's description of its promoted model is too long")
        try:
            promotion = Promotion.from_json(read_json(said))
        except ValueError as error:
            raise NotTaken(f"the coordinator's promoted model cannot be read: {error}") from error
        if not 0 < promotion.size <= _LARGEST:
            raise NotTaken(f"the promoted model has {promotion.size} bytes; at most {_LARGEST} are accepted")
        file = self.path(promotion)
        if not file.exists() and not self._piece(ask, promotion):
            return None
        before = [each for each in self._before() if each.model != promotion.model]
        kept = [promotion, *before][:2]
        content = json.dumps([each.to_json() for each in kept]).encode()
        write_whole(self._folder / FILE, content, mode=PRIVATE)
        names = {self.path(each) for each in kept}
        for old in (self._folder / MODELS).iterdir():
            if old not in names:
                old.unlink()
        return promotion

    def _before(self) -> list[Promotion]:
        try:
            return self.standing()
        except ValueError as error:
            log.warning("%s", error)
            return []

    def _piece(self, ask: Ask, promotion: Promotion) -> bool:
        """Fetch one piece; returns whether the model is complete, and on disk under its name."""
        partial = private_folder(self._folder / MODELS) / f"{promotion.model}.partial"
        there = partial.stat().st_size // PIECE if partial.exists() else 0
        piece = ask(f"{PATH}/{promotion.model}/{there}")
        end = there * PIECE + len(piece)
        if end < promotion.size and len(piece) != PIECE:
            partial.unlink(missing_ok=True)
            raise NotTaken("the coordinator sent less of its promoted model than it announced")
        partial.touch(PRIVATE)
        with partial.open("r+b") as file:
            file.truncate(there * PIECE)  # a kill may have left half a piece
            file.seek(there * PIECE)
            file.write(piece)
        if end < promotion.size:
            return False
        try:
            _check(partial, promotion.model)
        except NotTaken:
            partial.unlink()
            raise
        put_in_place(partial, self.path(promotion))
        return True


def _check(file: Path, model: str) -> None:
    """Refuse a file that does not have this hash, or is not safetensors."""
    with file.open("rb") as stored:
        if hashlib.file_digest(stored, "sha256").hexdigest() != model:
            raise NotTaken("the promoted model does not match its hash")
    try:
        with safe_open(file, framework="numpy"):
            return
    except SafetensorError as error:
        raise NotTaken(f"the promoted model is not a safetensors file: {error}") from error
