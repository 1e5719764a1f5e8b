"""Messages that devices have received and not answered, because a SuperLink hands out each only once.

A Hedgerow device does one thing at a time, and saves each message to disk. If it asks for the next message
before it has sent anything, it has lost the last one, for example because it was killed before it could save
it; it is then sent the same message again.
"""

from typing import final

OWN_AGENT = "hedgerow"
"""The user agent of Hedgerow devices; Flower's own nodes do several things at a time."""

_MOST_TIMES = 3
"""Limit on repeats, so that a device that cannot handle a message does not get it for ever."""


@final
class HandedOut:
    """The last message of each device.

    >>> handed = HandedOut()
    >>> handed.give("kitchen", b"message")
    >>> handed.lost("kitchen"), handed.lost("garage")
    (b'message', None)
    >>> handed.answered("kitchen")
    >>> handed.lost("kitchen") is None
    True
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[bytes, int]] = {}

    def give(self, name: str, reply: bytes) -> None:
        """Record that a device is given a message."""
        self._last[name] = reply, _MOST_TIMES

    def answered(self, name: str) -> None:
        """Record that a device has answered its message."""
        self._last.pop(name, None)

    def lost(self, name: str) -> bytes | None:
        """The message that a device asking for the next one has lost; `None` if it has lost none."""
        reply, left = self._last.pop(name, (None, 0))
        if reply is not None and left > 1:
            self._last[name] = reply, left - 1
        return reply
