"""The process that carries a run out: the SuperLink starts it and tells nobody, so it is looked for."""

import time
from pathlib import Path
from typing import final

from hedgerow.coordinator import processes
from hedgerow.coordinator.beats import SERVER_APP_BEATS, SILENT_SECONDS, Silence, beat_file
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.superlink import SERVER_APP_PROGRAM
from hedgerow.locks import Holder, holder_of


@final
class ServerAppProcess:
    """Of the run that goes on."""

    def __init__(self, folder: FederationFolder) -> None:
        self._silence = Silence(beat_file(folder, SERVER_APP_BEATS))
        self._process: Holder | None = None
        self._before: Holder | None = None
        self._others: set[int] = set()
        self._begun = time.monotonic()

    def begin(self, run: Path, superlink: int) -> None:
        """Before a run is started in a folder: whoever has held that, or is there already, is of another."""
        self._before = holder_of(run)
        self._others = processes.started_by(superlink, SERVER_APP_PROGRAM)
        self._silence.begin()
        self._begun = time.monotonic()

    def find(self, run: Path, superlink: int) -> None:
        """Look for it: who holds the run's folder, or was started and has not come so far."""
        holder = holder_of(run)
        if holder is not None and holder != self._before:
            self._process = holder
        elif self._process is None:
            new = processes.started_by(superlink, SERVER_APP_PROGRAM) - self._others
            self._process = Holder.of(min(new)) if new else None

    @property
    def gone(self) -> bool:
        """Whether it was there, and has ended."""
        return self._process is not None and self._process.dead

    @property
    def running(self) -> int | None:
        """Its number, while it runs."""
        return None if self._process is None or self._process.dead else self._process.pid

    def hangs(self) -> str:
        """That it gives no sign of life; empty where it does, or did not yet."""
        if self._process is None or (silent := self._silence.seconds()) < SILENT_SECONDS:
            return ""
        return f"the ServerApp has given no sign of life for {silent:.0f} s"

    def waited_for(self) -> float:
        """Seconds since the run was begun, in which it was not seen; 0 where it was."""
        return 0.0 if self._process is not None else time.monotonic() - self._begun

    def end(self) -> None:
        """End it: nobody else may write in the run's folder."""
        if (pid := self.running) is not None:
            processes.end([pid], patience=1.0)
        self._process = None
