"""Messages that devices were handed and have not answered: a SuperLink hands each out once.

A device of Hedgerow's does one thing after another, and keeps on its disk what it was asked. One that looks
for the next message before it has sent anything has lost the last one, as when it was killed before it could
write that down: it is given the same again.
"""

from typing import final

OWN_AGENT = "hedgerow"
"""How a device of Hedgerow's names itself; Flower's own nodes do several things at a time."""

_MOST_TIMES = 3
"""A device that cannot do anything with a message is not given it for ever."""


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
        """A device is given a message."""
        self._last[name] = reply, _MOST_TIMES

    def answered(self, name: str) -> None:
        """A device has sent what it has to say of it."""
        self._last.pop(name, None)

    def lost(self, name: str) -> bytes | None:
        """What a device that asks for the next one has lost; `None` where it has lost nothing."""
        reply, left = self._last.pop(name, (None, 0))
        if reply is not None and left > 1:
            self._last[name] = reply, left - 1
        return reply
