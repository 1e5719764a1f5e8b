"""Heartbeats of devices: a SuperLink trusts one for twice its interval, so it need not receive each."""

import time
from collections.abc import Callable
from typing import final

_PART = 4 / 3
"""Time between two that are passed on, in intervals; the SuperLink counts a device as gone after two."""


@final
class Heartbeats:
    """The SuperLink's answers to the last heartbeat of each device that was passed on.

    >>> beats = Heartbeats(lambda: 0.0)
    >>> beats.told("kitchen", b"I am here", 30.0, b"noted")
    >>> beats.answer("kitchen", b"I am here"), beats.answer("kitchen", b"I am another")
    (b'noted', None)
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[str, tuple[bytes, float, bytes]] = {}

    def told(self, name: str, request: bytes, interval: float, reply: bytes) -> None:
        """Record that the SuperLink accepted a device's heartbeat, which holds for this interval."""
        self._last[name] = request, self._clock() + _PART * interval, reply

    def answer(self, name: str, request: bytes) -> bytes | None:
        """Its recent answer to the same heartbeat; `None` if the heartbeat must be passed on."""
        before, until, reply = self._last.get(name, (b"", 0.0, b""))
        return reply if before == request and self._clock() < until else None

    def forget(self, name: str) -> None:
        """Forget a device that has left or joins again."""
        self._last.pop(name, None)
