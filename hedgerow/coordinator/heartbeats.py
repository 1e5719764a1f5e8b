"""Signs of life of devices: a SuperLink believes one for twice its interval, and need not hear each."""

import time
from collections.abc import Callable
from typing import final

_PART = 4 / 3
"""Of the interval that a device names; the SuperLink counts it as gone after two of these."""


@final
class Heartbeats:
    """What the SuperLink has said to the last one of each device that it was told of.

    >>> beats = Heartbeats(lambda: 0.0)
    >>> beats.told("kitchen", b"I am here", 30.0, b"noted")
    >>> beats.answer("kitchen", b"I am here"), beats.answer("kitchen", b"I am another")
    (b'noted', None)
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[str, tuple[bytes, float, bytes]] = {}

    def told(self, name: str, request: bytes, interval: float, reply: bytes) -> None:
        """The SuperLink has taken a sign of life of a device, for such an interval."""
        self._last[name] = request, self._clock() + _PART * interval, reply

    def answer(self, name: str, request: bytes) -> bytes | None:
        """What it has said to the same a while ago; `None` where it is to be told."""
        before, until, reply = self._last.get(name, (b"", 0.0, b""))
        return reply if before == request and self._clock() < until else None

    def forget(self, name: str) -> None:
        """A device has left, or comes anew."""
        self._last.pop(name, None)
