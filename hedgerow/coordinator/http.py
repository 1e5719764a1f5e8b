"""A small HTTP/1.1 server for hostile networks: h11 on asyncio, with a time limit on every wait.

Before a body is read, its announced size and its sender have been checked; memory
is bounded by what the handler allows for one body, times the number of connections.
Nobody can hold a connection by being slow: TLS, the head, the body and the reply
each have a deadline.
"""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import final

import h11

from hedgerow.coordinator.http_types import Handler, Refused, Reply, Request
from hedgerow.coordinator.ports import listening

log = logging.getLogger("hedgerow")

_READ = 65536
_PAUSE = 0.05


@dataclass(frozen=True)
class Limits:
    """Limits on connections.

    Attributes:
        connections: open at a time; further ones are closed at once.
        strangers: how many of these may not have had a successful answer yet, counted from their first byte.
        handshake: seconds for TLS.
        head: seconds for the lines before a body.
        idle: seconds between two requests.
        body: seconds for any body, and one more for each `body_rate` bytes.
        body_rate: bytes per second at which a body must arrive, or be taken.
        reply: seconds in which a reply must be taken, and one more for each `body_rate` bytes.
    """

    connections: int = 2048
    strangers: int = 256
    handshake: float = 10.0
    head: float = 10.0
    idle: float = 75.0
    body: float = 10.0
    body_rate: float = 16384.0
    reply: float = 60.0


@final
class HttpServer:
    """Serves a handler on a port; an asynchronous context manager."""

    def __init__(
        self,
        handler: Handler,
        host: str | None,
        port: int,
        context: ssl.SSLContext,
        limits: Limits | None = None,
    ) -> None:
        self._handler, self._host, self._given_port, self._context = handler, host, port, context
        self._limits, self._open, self._strange = limits or Limits(), 0, 0

    async def __aenter__(self) -> "HttpServer":
        self._socket = listening(self._host, self._given_port)
        self._tasks = {asyncio.create_task(self._accept())}
        return self

    async def __aexit__(self, *_: object) -> None:
        left = self._tasks
        while left:  # again: before Python 3.12, `wait_for` may swallow a cancellation
            for task in left:
                task.cancel()
            left = (await asyncio.wait(left, timeout=_PAUSE))[1]
        self._socket.close()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._socket.getsockname()[1])

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                plain, peer = await loop.sock_accept(self._socket)
            except OSError as error:  # already gone, or too many open files
                log.warning("no connection could be accepted: %s", error)
                await asyncio.sleep(_PAUSE)
                continue
            # Counted before TLS: an abandoned handshake takes memory too.
            if self._open >= self._limits.connections or self._strange >= self._limits.strangers:
                plain.close()
                continue
            self._open += 1
            self._strange += 1
            task = asyncio.create_task(self._serve(plain, str(peer[0])))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, plain: socket.socket, peer: str) -> None:
        known, writer = False, None

        def answered_well() -> None:
            nonlocal known
            self._strange -= not known
            known = True

        try:
            reader, writer = await self._encrypted(plain)
            await _Conversation(self._handler, self._limits, reader, writer, peer, answered_well).run()
        except (TimeoutError, OSError, ssl.SSLError, h11.LocalProtocolError, asyncio.IncompleteReadError):
            pass  # too slow, or gone
        except asyncio.CancelledError:
            pass  # the server is ending; asyncio would log this for each connection
        except Exception:
            log.exception("a connection ended with an error of this server")
        finally:
            self._open -= 1
            self._strange -= not known
            (plain.close if writer is None else writer.transport.abort)()

    async def _encrypted(self, plain: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The streams of a connection after TLS, as from `asyncio.open_connection`."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_READ)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, plain, ssl=self._context,
            ssl_handshake_timeout=self._limits.handshake, ssl_shutdown_timeout=2.0,
        )  # fmt: skip
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


@final
class _Conversation:
    """The requests of one connection."""

    def __init__(
        self,
        handler: Handler,
        limits: Limits,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        peer: str,
        answered_well: Callable[[], None],
    ) -> None:
        self._handler, self._limits, self._reader, self._writer = handler, limits, reader, writer
        self._answered_well = answered_well
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=16384)
        self._peer, self._bodyless = peer, False
        writer.transport.set_write_buffer_limits(high=_READ)

    async def run(self) -> None:
        waits = self._limits.head
        while True:
            try:
                request = await self._head(waits)
                if request is None:
                    return
                reply = await self._answered(request)
                if reply.status < HTTPStatus.BAD_REQUEST:
                    self._answered_well()
            except h11.RemoteProtocolError as error:
                reply = Refused(error.error_status_hint, "this is not valid HTTP/1.1").reply()
            except Refused as refused:
                reply = refused.reply()
            if not await self._send(reply):
                return
            self._http.start_next_cycle()
            waits = self._limits.idle

    async def _head(self, waits: float) -> Request | None:
        """The next request, or `None` at the end; only the first byte may take long to arrive."""
        self._bodyless = False
        event = self._http.next_event()
        if event is h11.NEED_DATA:
            self._http.receive_data(await asyncio.wait_for(self._reader.read(_READ), waits))
            event = self._http.next_event()
        until = time.monotonic() + self._limits.head
        while event is h11.NEED_DATA:
            data = await asyncio.wait_for(self._reader.read(_READ), max(0.0, until - time.monotonic()))
            self._http.receive_data(data)
            event = self._http.next_event()
        if not isinstance(event, h11.Request):
            return None
        self._bodyless = event.method == b"HEAD"
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in event.headers}
        if "transfer-encoding" in headers:
            raise Refused(411, "a body needs its content-length")
        path = event.target.decode("latin-1").partition("?")[0]
        length = int(headers.get("content-length", "0"))
        if not length:
            self._http.next_event()  # the end of the request, so that nothing is left unread
        return Request(event.method.decode("latin-1"), path, headers, length, self._peer, self._gone)

    def _gone(self) -> bool:
        return self._reader.at_eof() or self._reader.exception() is not None

    async def _answered(self, request: Request) -> Reply:
        allowed = self._handler.admit(request)
        if request.length > allowed:
            raise Refused(413, f"the body has {request.length} bytes; at most {allowed} are accepted here")
        seconds = self._limits.body + request.length / self._limits.body_rate
        body = await asyncio.wait_for(self._body(request), seconds)
        return await self._handler.answer(request, body)

    async def _body(self, request: Request) -> bytes:
        if self._http.they_are_waiting_for_100_continue:
            await self._write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])))
        parts = []
        while request.length:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(_READ))
            elif isinstance(event, h11.Data):
                parts.append(bytes(event.data))
            else:
                break
        return b"".join(parts)

    async def _send(self, reply: Reply) -> bool:
        """Send a reply; returns whether the connection stays open."""
        # An unread body is never read: the connection ends with the reply.
        ends = self._http.their_state is not h11.DONE
        # A device compares its clock with the date.
        headers = {
            "date": formatdate(usegmt=True), **reply.headers, "content-length": str(len(reply.body))
        }  # fmt: skip
        if ends:
            headers["connection"] = "close"
        reason = HTTPStatus(reply.status).phrase.encode()
        head = h11.Response(status_code=reply.status, headers=list(headers.items()), reason=reason)
        body = b"" if self._bodyless else reply.body
        first = b"".join(self._http.send(event) or b"" for event in (head, h11.Data(body[:_READ])))
        async with asyncio.timeout(self._limits.reply + len(body) / self._limits.body_rate):
            await self._write(first)
            for place in range(_READ, len(body), _READ):  # so that a slow reader holds no copy of it all
                await self._write(self._http.send(h11.Data(body[place : place + _READ])))
            self._http.send(h11.EndOfMessage())
        if ends:
            # If a connection is cut while the other side is writing, that side loses the reply.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._drain(), 1.0)
        return not ends and self._http.our_state is h11.DONE

    async def _drain(self) -> None:
        for _ in range(16):
            if not await self._reader.read(_READ):
                return

    async def _write(self, data: bytes | None) -> None:
        self._writer.write(data or b"")
        await asyncio.wait_for(self._writer.drain(), self._limits.reply)
