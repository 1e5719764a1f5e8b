"""A gateway on this machine, in a thread, and raw connections to it."""

import asyncio
import base64
import datetime
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hedgerow.coordinator.certificates import gateway_certificate
from hedgerow.coordinator.entrance import Entrance
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.http import HttpServer, Limits
from hedgerow.coordinator.members import invite, join

FLEET = "/v1/fleet/"

Headers = Mapping[str, str] | None


def public(key: ec.EllipticCurvePrivateKey) -> str:
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(*form).decode()


def joined(folder: FederationFolder, name: str, out: Path) -> ec.EllipticCurvePrivateKey:
    """The key of a device that has joined."""
    kit, key = json.loads(invite(folder, name, out).read_text()), ec.generate_private_key(ec.SECP384R1())
    join(folder, {**kit, "node_key": public(key)}, lambda key, name: 7)
    return key


def signed(key: ec.EllipticCurvePrivateKey, *, age: float = 0.0) -> dict[str, str]:
    """The headers with which a device signs a call."""
    stamp = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=age)).isoformat()
    signature = key.sign(stamp.encode(), ec.ECDSA(hashes.SHA256()))
    return {
        "flwr-public-key": base64.b64encode(public(key).encode()).decode(),
        "flwr-timestamp": stamp,
        "flwr-signature": base64.b64encode(signature).decode(),
    }


class Raw:
    """A TLS connection that says what it is told to."""

    def __init__(self, folder: FederationFolder, port: int) -> None:
        context = ssl.create_default_context(cafile=str(folder.path / "ca.pem"))
        plain = socket.create_connection(("127.0.0.1", port), timeout=30)
        try:
            self.socket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        except OSError:
            plain.close()
            raise

    def send(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        given = {"host": "x", "content-length": str(len(body)), **(headers or {})}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items() if value)]
        self.socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def reply(self, *, bodyless: bool = False) -> tuple[int, dict[str, str], bytes]:
        """`(status, headers, body)`; status 0 where the connection has ended."""
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := self.socket.recv(65536)):
                return 0, {}, data
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        while not bodyless and len(body) < int(headers["content-length"]):
            body += self.socket.recv(65536)
        return int(first.split()[1]), headers, body

    def ask(self, method: str, path: str, headers: Headers = None, body: bytes = b"") -> int:
        """The status of one call."""
        self.send(method, path, headers, body)
        return self.reply()[0]

    def ended(self) -> bool:
        """Whether the other side has closed; waits for that."""
        try:
            return self.socket.recv(1) == b""
        except (ConnectionError, ssl.SSLError):
            return True


@contextmanager
def gateway(folder: FederationFolder, limits: Limits | None = None) -> Iterator[int]:
    """Serve a federation with no SuperLink behind; gives the port."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    port: list[int] = []
    ended = asyncio.Event()

    async def serve() -> None:
        handler = Entrance(folder)
        async with HttpServer(
            handler, "127.0.0.1", 0, gateway_certificate(folder).context(), limits
        ) as server:
            port.append(server.port)
            ready.set()
            await ended.wait()
        await handler.close()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert ready.wait(30)
        yield port[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(timeout=30)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
