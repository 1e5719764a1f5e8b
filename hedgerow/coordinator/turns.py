"""Who waits for a message goes on while the SuperLink has time: whoever is handed one has an answer soon."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar, final

T = TypeVar("T")

_MOST_OPEN = 8
_APART_SECONDS, _LOOK_SECONDS = 0.005, 0.02


@final
class Turns:
    """Lets one caller through after the other, while few calls are open.

    So answers of a cohort that is asked at once come as they can be taken, and none waits long.
    """

    def __init__(self) -> None:
        self._open, self._one = 0, asyncio.Lock()

    async def call(self, asked: Awaitable[T]) -> T:
        """Make a call, which is open until it is answered."""
        self._open += 1
        try:
            return await asked
        finally:
            self._open -= 1

    async def turn(self) -> None:
        """Wait for one's turn."""
        async with self._one:
            while self._open >= _MOST_OPEN:
                await asyncio.sleep(_LOOK_SECONDS)
            await asyncio.sleep(_APART_SECONDS)
