"""A network that can be cut: it carries bytes between a phone and the gateway, or nothing."""

import base64
import json
import math
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Line:
    """Forwards connections to a port of this machine; `off` ends them, and all that are tried until `on`.

    Attributes:
        stalled: set once a request is held back.
    """

    def __init__(self, port: int) -> None:
        self._to, self._off, self._open = port, False, set[socket.socket]()
        self._most, self.stalled = math.inf, threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def off(self) -> None:
        self._off = True
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def on(self) -> None:
        self._off, self._most = False, math.inf
        self.stalled.clear()

    def stall(self, most: int) -> None:
        """Of the next request that is longer, carry so many bytes and no more, until the line is off."""
        self._most = most

    def through(self, code: str) -> str:
        """A code for phones, by which the page and its calls go through this line."""
        return at_port(code, self.port)

    def close(self) -> None:
        self.off()
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                if self._off:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._to))
                asked = [0]  # bytes of the request that goes on
                for one, other, up in ((near, far, True), (far, near, False)):
                    threading.Thread(target=self._carry, args=(one, other, asked, up), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket, asked: list[int], up: bool) -> None:
        self._open.add(one)
        with one, suppress(OSError):
            while data := one.recv(2**16):
                asked[0] = asked[0] + len(data) if up else 0
                if up and asked[0] > self._most:
                    other.sendall(data[: max(0, int(self._most) - asked[0] + len(data))])
                    self.stalled.set()
                    while one.recv(2**16):
                        pass
                    break
                other.sendall(data)
        with suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)
        self._open.discard(one)


def at_port(code: str, port: int) -> str:
    """A code for phones, by which the page and its calls go to another port of this machine."""
    address, _, hidden = code.partition("#")
    told = json.loads(base64.urlsafe_b64decode(hidden + "=" * (-len(hidden) % 4)))
    address, told["address"] = (re.sub(r":\d+", f":{port}", each) for each in (address, told["address"]))
    text = base64.urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip("=")
    return f"{address}#{text}"


@contextmanager
def line_to(port: int) -> Iterator[Line]:
    made = Line(port)
    try:
        yield made
    finally:
        made.close()
