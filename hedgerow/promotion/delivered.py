"""How a promoted model comes to a device, and what is kept of it there.

    models/DIGEST.safetensors   the model that stands, and the one before it
    models/DIGEST.partial       one that is being fetched, in whole pieces
    promoted.json               both promotions; it is written when the model is there

A model is data: named arrays of numbers, held to their hash.
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

log = logging.getLogger("hedgerow")

HEADER, PATH = "hedgerow-model", "/model"
PIECE = 4 * 2**20
"""Bytes of one piece: what a gateway, or a device, has in memory of a model at a time."""

FILE = "promoted.json"
_LARGEST = 2**32
_MOST_NAMED = 2**20

Ask = Callable[[str], bytes]
"""The body that the coordinator answers to `GET` of a path."""


class NotTaken(ValueError):
    """A model that is not what the coordinator says of it."""


@final
class Delivered:
    """The promoted models in a device's folder.

    Args:
        folder: of the device.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def standing(self) -> list[Promotion]:
        """The promotion that stands, and the one before it; raises `ValueError` where they cannot be read."""
        file = self._folder / FILE
        if not file.exists():
            return []
        try:
            return [Promotion.from_json(each) for each in json.loads(file.read_bytes())]
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"{file} cannot be read: {error}; remove it, and it is fetched again") from error

    def path(self, promotion: Promotion) -> Path:
        """Where its model lies."""
        return self._folder / MODELS / f"{promotion.model}.safetensors"

    def has(self, model: str) -> bool:
        """Whether the model of that hash stands."""
        try:
            standing = self.standing()
        except ValueError:
            return False
        return bool(standing) and standing[0].model == model

    def fetch(self, ask: Ask) -> Promotion | None:
        """Take one step towards the coordinator's promoted model: what it is, or one piece of it.

        Returns:
            The promotion, when it stands; `None` where more is to be fetched.

        Raises:
            NotTaken: it is not what the coordinator says of it; what was fetched is gone.
            OSError: it cannot be written; what stood still stands.
        """
        said = ask(PATH)
        if len(said) > _MOST_NAMED:
            raise NotTaken("the coordinator says too much of its promoted model")
        try:
            promotion = Promotion.from_json(json.loads(said))
        except ValueError as error:
            raise NotTaken(f"the coordinator's promoted model is not understood: {error}") from error
        if not 0 < promotion.size <= _LARGEST:
            raise NotTaken(f"the promoted model has {promotion.size} bytes; at most {_LARGEST} are taken")
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
        """Fetch one piece; whether the model is whole, and on the disk under its name."""
        partial = private_folder(self._folder / MODELS) / f"{promotion.model}.partial"
        there = partial.stat().st_size // PIECE if partial.exists() else 0
        piece = ask(f"{PATH}/{promotion.model}/{there}")
        end = there * PIECE + len(piece)
        if end < promotion.size and len(piece) != PIECE:
            partial.unlink(missing_ok=True)
            raise NotTaken("the coordinator sends less of its promoted model than it says")
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
    """Refuse what is not of that hash, or no safetensors file."""
    with file.open("rb") as stored:
        if hashlib.file_digest(stored, "sha256").hexdigest() != model:
            raise NotTaken("the promoted model is not the one of its hash; it is not taken")
    try:
        with safe_open(file, framework="numpy"):
            return
    except SafetensorError as error:
        raise NotTaken(f"the promoted model is no safetensors file: {error}") from error
