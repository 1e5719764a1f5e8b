"""Release waiting devices at the pace of the SuperLink: each that gets a message soon sends an answer."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar, final

T = TypeVar("T")

_MOST_OPEN = 8
_APART_SECONDS, _LOOK_SECONDS = 0.005, 0.02


@final
class Turns:
    """Lets one caller through after the other, while few calls are open.

    The answers of a whole cohort then arrive as fast as they can be processed, and none waits long.
    """

    def __init__(self) -> None:
        self._open, self._one = 0, asyncio.Lock()

    async def call(self, asked: Awaitable[T]) -> T:
        """Make a call; it counts as open until it is answered."""
        self._open += 1
        try:
            return await asked
        finally:
            self._open -= 1

    async def turn(self) -> None:
        """Wait for a turn."""
        async with self._one:
            while self._open >= _MOST_OPEN:
                await asyncio.sleep(_LOOK_SECONDS)
            await asyncio.sleep(_APART_SECONDS)
