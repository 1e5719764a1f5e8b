"""Serves the promoted model to devices: its description, and the model in pieces.

    GET /model                  the promotion, JSON; `etag` is the model's hash
    GET /model/DIGEST/NUMBER    its pieces, of `PIECE` bytes each except the last

Every answer of the gateway names the current model: `hedgerow-model: DIGEST`.
"""

import logging
from collections.abc import Mapping
from typing import final

from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.http_types import Refused, Reply, Request
from hedgerow.promotion.delivered import HEADER, PATH, PIECE
from hedgerow.promotion.lineage import Promotion, is_digest
from hedgerow.promotion.shelf import Shelf, ShelfError

log = logging.getLogger("hedgerow")


@final
class Delivery:
    """The promoted models in a federation's folder, read again when it changes."""

    def __init__(self, folder: FederationFolder) -> None:
        self._shelf, self._stamp = Shelf(folder.path), (0, 0)
        self._standing: list[Promotion] = []

    @staticmethod
    def has(path: str) -> bool:
        """Whether a path is one of these; no part of it is used as a file name."""
        if path == PATH:
            return True
        parts = path.removeprefix(f"{PATH}/").split("/")
        return len(parts) == 2 and is_digest(parts[0]) and parts[1].isdecimal() and len(parts[1]) < 10

    def header(self) -> Mapping[str, str]:
        """The header that names the current model; empty if there is none."""
        standing = self._read()
        return {HEADER: standing[-1].model} if standing else {}

    def answer(self, request: Request) -> Reply:
        """The answer to a request for a path that it `has`; raises `Refused`."""
        standing = self._read()
        if not standing:
            raise Refused(404, "no model has been promoted yet")
        if request.path == PATH:
            tag = f'"{standing[-1].model}"'
            if request.headers.get("if-none-match") == tag:
                return Reply(304, b"", {"etag": tag})
            return Reply.of_json(200, standing[-1].to_json(), etag=tag)
        digest, _, number = request.path.removeprefix(f"{PATH}/").partition("/")
        if digest != standing[-1].model:
            raise Refused(404, "this model is no longer the promoted one")
        try:
            with self._shelf.path(digest).open("rb") as file:
                file.seek(int(number) * PIECE)
                piece = file.read(PIECE)
        except OSError as error:
            log.error("the promoted model cannot be read: %s", error)
            raise Refused(500, "the coordinator cannot answer now; its log says why") from error
        if not piece:
            raise Refused(404, "the model has no such piece")
        return Reply(200, piece, {"content-type": "application/octet-stream", "etag": f'"{digest}"'})

    def _read(self) -> list[Promotion]:
        """The current promotions; unchanged, and logged, if they cannot be read."""
        try:
            about = self._shelf.file.stat()
        except FileNotFoundError:
            return self._standing
        if (stamp := (about.st_mtime_ns, about.st_size)) != self._stamp:
            self._stamp = stamp
            try:
                self._standing = self._shelf.standing()
            except ShelfError as error:
                log.error("%s", error)
        return self._standing
