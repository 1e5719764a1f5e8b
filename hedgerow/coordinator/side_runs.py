"""Short Flower runs beside the federation's own: requested in a folder, where the results are written.

    side-runs/ID/asked.json   which apps, with which run config
    side-runs/ID/done.json    the ServerApp's result, or why there is none

The process that holds the federation carries them out.
"""

import json
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, final

from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.superlink import Control
from hedgerow.files import PRIVATE, private_folder, write_whole

FOLDER = "side-runs"
_ASKED, _DONE = "asked.json", "done.json"
_LOOK_SECONDS = 0.5
_FORGOTTEN_SECONDS = 86400.0  # for requests whose process was killed


@dataclass(frozen=True)
class SideRun:
    """One side run, by its folder."""

    path: Path

    @classmethod
    def make(cls, folder: FederationFolder) -> Self:
        """Create the folder of a new side run, not yet requested, and remove abandoned ones.

        Raises:
            OSError: it cannot be created.
        """
        home = private_folder(folder.path / FOLDER)
        for old in home.iterdir():
            if old.stat().st_mtime < time.time() - _FORGOTTEN_SECONDS:
                shutil.rmtree(old)
        return cls(private_folder(home / secrets.token_hex(8)))

    def close(self) -> None:
        """Remove it: nobody needs it any more."""
        shutil.rmtree(self.path, ignore_errors=True)

    def ask(self, server_app: str, client_app: str, config: Mapping[str, Any]) -> None:
        """Request it; the run config also gets the folder, as `side`. Raises `OSError`."""
        asked = {"server_app": server_app, "client_app": client_app, "config": dict(config)}
        self._write(_ASKED, asked | {"config": {**config, "side": str(self.path)}})

    def finish(self, found: Mapping[str, Any]) -> None:
        """Write its result; raises `OSError`."""
        self._write(_DONE, dict(found))

    def done(self) -> Any:
        """The result; `None` before there is one."""
        file = self.path / _DONE
        return json.loads(file.read_bytes()) if file.exists() else None

    def asked(self) -> Any:
        """The request; `None` before there is one."""
        file = self.path / _ASKED
        return json.loads(file.read_bytes()) if file.exists() else None

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        write_whole(self.path / name, json.dumps(content).encode(), mode=PRIVATE)


@final
class SideRuns:
    """Carries out side runs that are requested in a federation's folder; call `look` from time to time."""

    def __init__(self, folder: FederationFolder) -> None:
        self._home, self._runs, self._next = folder.path / FOLDER, dict[Path, int](), 0.0

    def look(self, control: Control) -> None:
        """Start requested runs, and follow them; raises `httpx.HTTPError`.

        A run that the SuperLink has lost is started again; one that fails says why.
        """
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _LOOK_SECONDS
        for place in sorted(self._home.glob(f"*/{_ASKED}")):
            side = SideRun(place.parent)
            if side.done() is not None:
                self._runs.pop(side.path, None)
                continue
            if (number := self._runs.get(side.path)) is None:
                self._runs[side.path] = control.start_run(**side.asked())
                continue
            run = control.run(number)
            if run.status != "finished" or side.done() is not None:
                continue
            del self._runs[side.path]
            if run.outcome == "failed":
                side.finish({"error": run.details or "it failed; see hedgerow logs"})
