"""Which message a device gets next: of those that the gateway has itself, and those that the SuperLink has.

The SuperLink has them all, those too that the gateway has handed out itself, until their answers are
collected. The gateway has the last one for each device, and of one run. So the SuperLink is asked where more
were announced than that one, and what it says is passed on if the device has not had it yet.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import final

import httpx

from hedgerow.coordinator.bell import Bell
from hedgerow.coordinator.mail import Mail
from hedgerow.coordinator.superlink import MEDIA, message_id

_REMEMBERED = 32
"""Messages of a device: more of them are never without their answers."""


@final
class NextMessage:
    """The next message for each device.

    Args:
        mail: what the gateway has itself.
        bell: that announces messages.
    """

    def __init__(self, mail: Mail, bell: Bell) -> None:
        self._mail, self._bell = mail, bell
        self._had = dict[int, deque[str]]()

    async def of(self, node: int, ask: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        """The answer to a node's poll: a message that it has not had yet, or none.

        Args:
            node: its id.
            ask: asks the SuperLink for one of the node's messages.
        """
        announced = self._bell.announced(node)
        if not announced and (here := self._handed(node)) is not None:
            return here
        for _ in range(_REMEMBERED):
            found = await ask()
            if found.status_code != 200 or not (name := message_id(found.content)):
                break
            if self._is_new(node, name):
                return found
        if found.status_code == 200:
            self._bell.looked(node, announced)
            if (here := self._handed(node)) is not None:
                return here
        return found

    def _handed(self, node: int) -> httpx.Response | None:
        here = self._mail.take(node)
        if here is None or not self._is_new(node, message_id(here)):
            return None
        return httpx.Response(200, content=here, headers={"content-type": MEDIA})

    def _is_new(self, node: int, name: str) -> bool:
        had = self._had.setdefault(node, deque(maxlen=_REMEMBERED))
        if name in had:
            return False
        had.append(name)
        return True
