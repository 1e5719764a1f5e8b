"""Runs of Flower's that were lost: when the next one is tried, and when there is no hope."""

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
    """Counts runs that were lost with no round in between.

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
        """Whether a run that has failed of its own after so many rounds has failed in the same way before.

        A full disk has room again when somebody makes some, and a process that was too slow to say that it
        lives is none of the run's doing.
        """
        again = done == self._after and why == self._why
        self._number = self._number + 1 if done == self._after else 0
        self._why, self._after = why, done
        return again and of_its_own and not any(text in why.lower() for text in _PASSING)

    def wait(self) -> float:
        """Seconds before the next one is tried: later each time, where no round was done since."""
        return min(_LONGEST_WAIT, _FIRST_WAIT * 2.0**self._number)
