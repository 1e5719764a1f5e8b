"""Stands between a device and the gateway, ends its TLS, and keeps all that the device sends."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hedgerow.coordinator.certificates import gateway_certificate
from hedgerow.coordinator.folder import FederationFolder


class Proxy:
    """`sent` and `received` have a device's bytes of each connection, as they were before TLS."""

    def __init__(self, folder: FederationFolder, port: int) -> None:
        self._port, self.address = port, ""
        self.sent, self.received = list[bytearray](), list[bytearray]()
        self._outside = gateway_certificate(folder).context()
        self._inside = ssl.create_default_context(cafile=str(folder.path / "ca.pem"))
        self._ended = asyncio.Event()

    async def run(self, ready: threading.Event) -> None:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._outside) as server:
            self.address = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            ready.set()
            await self._ended.wait()

    def end(self) -> None:
        self._ended.set()

    async def _serve(self, device: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        kept, got = bytearray(), bytearray()
        self.sent.append(kept)
        self.received.append(got)
        with suppress(OSError, asyncio.CancelledError):
            gateway, on = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._inside)
            ways = (_pass(device, on, kept), _pass(gateway, back, got))
            await asyncio.wait([asyncio.create_task(way) for way in ways], return_when="FIRST_COMPLETED")
            on.transport.abort()
        back.transport.abort()


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter, kept: bytearray) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            kept += data
            target.write(data)
            await target.drain()


@contextmanager
def proxy(folder: FederationFolder, port: int) -> Iterator[Proxy]:
    standing, loop, ready = Proxy(folder, port), asyncio.new_event_loop(), threading.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(standing.run(ready)))
    thread.start()
    try:
        assert ready.wait(30)
        yield standing
    finally:
        loop.call_soon_threadsafe(standing.end)
        thread.join(timeout=30)
        for left in asyncio.all_tasks(loop):
            left.cancel()
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(left)
        loop.close()
