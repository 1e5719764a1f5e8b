"""The constants of models, kept by hash, so that a device is sent them only once; and models, for a downlink.

A device keeps those of the last two models that it was sent: in files if it has a
folder, so that they survive a restart, and otherwise among its notes. With a downlink, it keeps in the same
way the last two models that others are changes of.
"""

import logging
import re
from collections.abc import MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol, final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from hedgerow.client.state import Note, StateStore
from hedgerow.files import PRIVATE, private_folder, write_whole
from hedgerow.secure.errors import Refused
from hedgerow.types import Layout, PayloadError, Vector, hash_constants
from hedgerow.wire.messages import TrainRequest

log = logging.getLogger("hedgerow")

_KEPT = 2
NAME = "constants"
"""The name of the folder of constants, and of the array in its files."""

BASES = "bases"
"""The name of the folder beside them, of models that others are changes of."""


class LacksConstants(Refused):
    """This device does not have the model's constants; it has to be sent them."""

    level = logging.INFO  # no error: each device asks once, and the server sends them


class KeptVectors(Protocol):
    """Where a device keeps models' constants, or models."""

    def load(self, hash: str) -> Vector | None:
        """The vector with this hash, bit for bit; `None` if it is no longer kept."""

    def save(self, hash: str, constants: Vector) -> None:
        """Keep a vector; raises `OSError` if it cannot be written."""


def completed(request: TrainRequest, layout: Layout, kept: KeptVectors) -> TrainRequest:
    """The request with the model's constants: saved if they came with it, loaded if it only names them.

    Raises:
        LacksConstants: the request only names them, and they are not kept here.
        PayloadError: the constants that were sent do not have the hash that the request names.
    """
    named, sent = request.constants, request.model.constants
    if not layout.constants or not named:
        return request
    if not re.fullmatch("[0-9a-f]{64}", named):
        raise PayloadError(f"the request names the model's constants {named!r}; it must be 64 hex digits")
    if len(sent):
        if hash_constants(sent) != named:
            raise PayloadError("the model's constants do not have the hash that the request names")
        try:
            kept.save(named, sent)
        except OSError as error:
            log.warning("the model's constants are not kept: %s; they will have to be sent again", error)
        return request
    found = kept.load(named)
    if found is None or found.shape != (layout.constant_size,):
        raise LacksConstants(f"the model's constants {named[:12]} are not here; they have to be sent")
    return replace(request, model=replace(request.model, constants=found))


def kept_constants(store: StateStore) -> KeptVectors:
    """Where a client keeps constants."""
    return InNotes(store.notes) if store.constants is None else InFolder(store.constants)


def kept_models(store: StateStore) -> KeptVectors:
    """Where a client keeps the models that others are changes of."""
    if store.constants is None:
        return InNotes(store.notes, "hedgerow.bases")
    return InFolder(store.constants.with_name(BASES))


@final
class InFolder:
    """Keeps the two newest sets in a folder, in files that only their owner can read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, hash: str) -> Vector | None:
        """The constants with this hash; a file that has changed counts as missing."""
        path = self._path(hash)
        try:
            found = load_file(path)[NAME]
        except (OSError, SafetensorError, KeyError):
            return None
        return found if found.dtype == np.float32 and hash_constants(found) == hash else None

    def save(self, hash: str, constants: Vector) -> None:
        """Keep these, and the set written before them."""
        private_folder(self._folder)
        write_whole(self._path(hash), save({NAME: np.ascontiguousarray(constants)}), mode=PRIVATE)
        files = self._folder.glob("*.safetensors")
        newest = sorted(files, key=lambda p: (p != self._path(hash), -p.stat().st_mtime_ns))
        for path in newest[_KEPT:]:
            path.unlink(missing_ok=True)

    def _path(self, hash: str) -> Path:
        return self._folder / f"{hash}.safetensors"


@final
class InNotes:
    """Keeps them among a client's notes: on a Flower node, in memory for as long as the node lives."""

    def __init__(self, notes: MutableMapping[str, Note], key: str = "hedgerow.constants") -> None:
        self._notes, self._key = notes, key

    def load(self, hash: str) -> Vector | None:
        """The constants with this hash; `None` if they are not kept."""
        found = self._notes.get(self._key, {}).get(hash)
        return None if found is None else np.frombuffer(found, "<f4").astype(np.float32, copy=False)

    def save(self, hash: str, constants: Vector) -> None:
        """Keep these, and the set kept before them."""
        before = {name: kept for name, kept in self._notes.get(self._key, {}).items() if name != hash}
        last = dict(list(before.items())[1 - _KEPT :])
        self._notes[self._key] = {**last, hash: np.ascontiguousarray(constants, "<f4").tobytes()}
