"""The event log of a federation, for its operator: a line for each event, newest last."""

import json
import os
import time
from contextlib import suppress
from typing import Any

from hedgerow.coordinator.folder import FederationFolder
from hedgerow.files import append_private

_NAME = "up.log"
_LARGEST, _TAIL = 2 * 2**20, 64 * 2**10


def note(folder: FederationFolder, text: str) -> None:
    """Add an event; if it cannot be written (a full disk), only the event is lost."""
    line = json.dumps({"at": round(time.time()), "text": " ".join(text.split())[:500]}, ensure_ascii=False)
    file = folder.logs / _NAME
    with suppress(OSError):
        if file.exists() and file.stat().st_size > _LARGEST:
            os.replace(file, file.with_suffix(".log.1"))
        with append_private(file) as log:
            log.write(f"{line}\n".encode())


def events(folder: FederationFolder, most: int = 50) -> list[dict[str, Any]]:
    """The last events, newest first: each with `at`, in Unix seconds, and `text`."""
    file = folder.logs / _NAME
    if not file.exists():
        return []
    with file.open("rb") as log:
        log.seek(max(0, file.stat().st_size - _TAIL))
        lines = log.read().split(b"\n")
    found = []
    for line in reversed(lines):
        with suppress(ValueError):  # the tail may start within a line, and a kill may have torn the last
            found.append(json.loads(line))
    return found[:most]
