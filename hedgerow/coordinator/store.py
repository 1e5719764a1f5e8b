"""A cache of objects that many devices ask for, such as a round's model, fetched from the SuperLink once."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import final

import httpx

Fetch = Callable[[], Awaitable[httpx.Response]]


@final
class ObjectStore:
    """The objects last sent to devices, by id, which is the hash of their content.

    Args:
        most: bytes to keep.
        complete: returns whether an answer contains the object.
    """

    def __init__(self, most: int, complete: Callable[[bytes], bool]) -> None:
        self._most, self._complete, self._bytes = most, complete, 0
        self._kept: OrderedDict[tuple[int, str], httpx.Response] = OrderedDict()
        self._asked: dict[tuple[int, str], asyncio.Future[None]] = {}

    async def get(self, key: tuple[int, str], fetch: Fetch) -> httpx.Response:
        """The answer with an object; calls that come while it is being fetched wait for it.

        Raises:
            httpx.HTTPError: it cannot be fetched.
        """
        while key in self._asked:
            await asyncio.wait([self._asked[key]])
        if (found := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return found
        asked = self._asked[key] = asyncio.get_running_loop().create_future()
        try:
            found = await fetch()
        finally:
            del self._asked[key]
            asked.set_result(None)
        if found.status_code == 200 and self._complete(found.content):
            self._keep(key, found)
        return found

    def _keep(self, key: tuple[int, str], found: httpx.Response) -> None:
        self._kept[key] = found
        self._bytes += len(found.content)
        while self._bytes > self._most:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest.content)
