"""Lost Flower runs: when to start the next one, and when to give up."""

import errno
import os
from typing import final

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
_PASSING = tuple(
    text.lower()
    for text in (
        *(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)),
        "database or disk is full", "the disk took only a part", "no heartbeat",
    )
)  # fmt: skip


@final
class LostRuns:
    """Counts runs that were lost with no completed round in between.

    >>> lost = LostRuns()
    >>> lost.hopeless("it was killed", 0, of_its_own=False), lost.wait()
    (False, 0.5)
    >>> full = "No space left on device"
    >>> lost.hopeless(full, 0, of_its_own=True), lost.hopeless(full, 0, of_its_own=True), lost.wait()
    (False, False, 2.0)
    >>> lost.hopeless("a mistake", 0, of_its_own=True), lost.hopeless("a mistake", 0, of_its_own=True)
    (False, True)
    """

    def __init__(self) -> None:
        self._why, self._after, self._number = "", -1, 0

    def hopeless(self, why: str, done: int, *, of_its_own: bool) -> bool:
        """Whether a run that failed by itself after this many rounds has failed in the same way before.

        A full disk does not count, because somebody can make room; nor does a process that was too slow
        to send its heartbeat, because that is not the run's fault.
        """
        again = done == self._after and why == self._why
        self._number = self._number + 1 if done == self._after else 0
        self._why, self._after = why, done
        return again and of_its_own and not any(text in why.lower() for text in _PASSING)

    def wait(self) -> float:
        """Seconds until the next attempt: longer each time, unless a round was completed since."""
        return min(_LONGEST_WAIT, _FIRST_WAIT * 2.0**self._number)
