"""Heartbeats: a process that works touches a file every second, and one that hangs does not.

Touching needs no space on a full disk. What counts is when the observer sees the file change, by its own
clock, and only time in which the observer was awake itself: a sleeping laptop, or a busy machine, raises no
false alarm.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import final

from hedgerow.coordinator.folder import FederationFolder
from hedgerow.files import PRIVATE, private_folder, write_whole

BEAT_SECONDS = 1.0
SILENT_SECONDS = 15.0
"""Seconds of silence after which a process counts as hung."""

SERVER_APP_BEATS = "serverapp"
"""The heartbeat name of the run's own process."""

_MOST_A_LOOK = 1.0


def beat_file(folder: FederationFolder, name: str) -> Path:
    """The file that the process with this name touches."""
    return folder.path / "beats" / name


def beat(file: Path) -> None:
    """Give one heartbeat."""
    with suppress(OSError):  # the supervisor could not create it on a full disk; then nobody looks
        os.utime(file)


@contextmanager
def beating(file: Path) -> Iterator[None]:
    """Give heartbeats from a thread of this process while the block runs."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(BEAT_SECONDS):
            beat(file)

    beat(file)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@final
class Silence:
    """How long a process has given no heartbeat; zero before its first one.

    Args:
        file: the one that it touches.
        clock: in seconds.
    """

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._file, self._clock = file, clock
        self._first, self._last, self._looked, self._seconds = 0, 0, clock(), 0.0

    def begin(self) -> None:
        """Start over, before the process is started."""
        with suppress(OSError):
            private_folder(self._file.parent)
            if not self._file.exists():
                write_whole(self._file, b"", durable=False, mode=PRIVATE)
        self._first = self._last = self._touched()
        self._looked, self._seconds = self._clock(), 0.0

    def seconds(self) -> float:
        """Seconds since its last heartbeat, counting only time in which this process was awake."""
        now, touched = self._clock(), self._touched()
        self._seconds += min(now - self._looked, _MOST_A_LOOK)
        self._looked = now
        if touched != self._last or touched == self._first:
            self._last, self._seconds = touched, 0.0
        return self._seconds

    def _touched(self) -> int:
        try:
            return self._file.stat().st_mtime_ns
        except OSError:
            return self._first
