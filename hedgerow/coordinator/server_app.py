"""The process that carries out a run: the SuperLink starts it without saying which, so we search."""

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
    """The ServerApp process of the current run."""

    def __init__(self, folder: FederationFolder) -> None:
        self._silence = Silence(beat_file(folder, SERVER_APP_BEATS))
        self._process: Holder | None = None
        self._before: Holder | None = None
        self._others: set[int] = set()
        self._begun = time.monotonic()

    def begin(self, run: Path, superlink: int) -> None:
        """Call before a run starts in a folder: processes that already exist or hold it are not the run's."""
        self._before = holder_of(run)
        self._others = processes.started_by(superlink, SERVER_APP_PROGRAM)
        self._silence.begin()
        self._begun = time.monotonic()

    def find(self, run: Path, superlink: int) -> None:
        """Search for the process that holds the run's folder, or that has started and not got that far."""
        holder = holder_of(run)
        if holder is not None and holder != self._before:
            self._process = holder
        elif self._process is None:
            new = processes.started_by(superlink, SERVER_APP_PROGRAM) - self._others
            self._process = Holder.of(min(new)) if new else None

    @property
    def gone(self) -> bool:
        """Whether it was found, and has ended."""
        return self._process is not None and self._process.dead

    @property
    def running(self) -> int | None:
        """Its process id, while it is running."""
        return None if self._process is None or self._process.dead else self._process.pid

    def hangs(self) -> str:
        """A report that it gives no heartbeat; empty if it does, or has not yet given its first."""
        if self._process is None or (silent := self._silence.seconds()) < SILENT_SECONDS:
            return ""
        return f"the ServerApp has given no sign of life for {silent:.0f} s"

    def waited_for(self) -> float:
        """Seconds since the run was started, if it has not been found; else 0."""
        return 0.0 if self._process is not None else time.monotonic() - self._begun

    def end(self) -> None:
        """End it, because no other process may write in the run's folder."""
        if (pid := self.running) is not None:
            processes.end([pid], patience=1.0)
        self._process = None
