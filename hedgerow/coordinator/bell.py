"""How the gateway learns that a message for a device is waiting: the run's ServerApp rings for it.

So nobody has to poll all the time. A ring is only a hint: devices that are not rung
for poll by themselves within seconds.
"""

import asyncio
import secrets
import socket
import struct
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import final

from hedgerow.coordinator.certificates import LOOPBACK
from hedgerow.coordinator.folder import FederationError, FederationFolder

FILE = "bell.json"

_AT_ONCE = 1000  # ids of 8 bytes in a datagram


def ring(folder: FederationFolder, nodes: Iterable[int]) -> None:
    """Announce messages for these nodes; it is fine if nobody listens."""
    ids = list(nodes)
    with suppress(OSError, FederationError, KeyError, ValueError, TypeError), _datagrams() as out:
        found = folder.read(FILE, {})
        to, key = (LOOPBACK[0], int(found["port"])), bytes.fromhex(found["key"])
        for first in range(0, len(ids), _AT_ONCE):
            part = ids[first : first + _AT_ONCE]
            out.sendto(key + struct.pack(f"<{len(part)}Q", *part), to)


@final
class Bell:
    """The gateway's end: lets calls wait until their node is rung for.

    Other users of the machine could ring too, if they knew the key, which is in the
    federation's folder; it would only cause an extra poll.
    """

    def __init__(self, folder: FederationFolder) -> None:
        self._waiting: dict[int, asyncio.Future[bool]] = {}
        self._known, self._missed = set[int](), Counter[int]()
        self._loop = asyncio.get_running_loop()  # before there is a socket to close
        self._in, self._key = _datagrams(), secrets.token_bytes(16)
        self._in.bind((LOOPBACK[0], 0))
        self._in.setblocking(False)
        folder.write(FILE, {"port": self._in.getsockname()[1], "key": self._key.hex()}, durable=False)
        self._loop.add_reader(self._in, self._rung)

    async def wait(self, node: int, seconds: float) -> bool:
        """Wait until a node is rung for, or time is up; returns at once, once for each ring it has missed.

        Returns:
            `False` if another call of the node has replaced this one.
        """
        if (before := self._waiting.get(node)) is not None and not before.done():
            before.set_result(False)
        if node not in self._known or self._missed[node]:
            self._known.add(node)
            self.looked(node, 1)
            return True
        waits = self._waiting[node] = self._loop.create_future()
        try:
            return await asyncio.wait_for(waits, seconds)
        except TimeoutError:
            return True
        finally:
            if self._waiting.get(node) is waits:
                del self._waiting[node]

    def missed(self, node: int) -> None:
        """Have one more wait of a node return at once: whoever waited when it was rung for has gone."""
        self._missed[node] += 1

    def announced(self, node: int) -> int:
        """How many rings a node has missed."""
        return self._missed[node]

    def looked(self, node: int, rings: int) -> None:
        """Forget some of the rings that a node has missed: what they announced was looked for."""
        self._missed[node] = max(0, self._missed[node] - rings)

    def close(self) -> None:
        """Stop listening."""
        self._loop.remove_reader(self._in)
        self._in.close()

    def _rung(self) -> None:
        data = self._in.recv(65536)
        ids = data[len(self._key) :]
        if not secrets.compare_digest(data[: len(self._key)], self._key) or len(ids) % 8:
            return
        for (node,) in struct.iter_unpack("<Q", ids):
            if (waits := self._waiting.get(node)) is None or waits.done():
                self.missed(node)
            else:
                waits.set_result(True)


def _datagrams() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
