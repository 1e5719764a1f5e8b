"""How good a device's link to its coordinator is, by a path of the gateway that is for that alone."""

import statistics
import time
from contextlib import suppress
from dataclasses import dataclass

from hedgerow.node.connection import Connection, Denied

PROBE = "/probe"
"""Path of the gateway: `GET` is answered with 1 MiB, `POST` takes as much."""

TOKEN = "hedgerow-token"
"""Header by which a device that has not joined shows its kit; it does not use the token up."""

_SIZE, _TIMES = 2**20, 5


@dataclass(frozen=True)
class Link:
    """A link, as measured.

    Attributes:
        latency: seconds there and back.
        down, up: bytes per second from and to the coordinator; 0 if it does not let this device measure them.
    """

    latency: float
    down: float = 0.0
    up: float = 0.0

    def seconds(self, down: int, up: int) -> float:
        """For so many bytes each way, and the few calls of a round.

        >>> Link(0.01, down=1e6, up=5e5).seconds(2_000_000, 1_000_000)
        4.04
        """
        return 4 * self.latency + down / self.down + up / self.up


def measured(connection: Connection, token: str | None) -> Link:
    """The link of a connection; raises `Unreachable`.

    Args:
        token: of the kit; `None` if the device has joined.
    """
    times = []
    for _ in range(_TIMES + 1):
        began = time.perf_counter()
        with suppress(Denied):  # it answers
            connection.call("/register", b"", method="GET")
        times.append(time.perf_counter() - began)
    latency = statistics.median(times[1:])  # the first opened the connection
    headers = {} if token is None else {TOKEN: token}
    try:
        began = time.perf_counter()
        got = len(connection.call(PROBE, b"", method="GET", **headers))
        between = time.perf_counter()
        connection.call(PROBE, bytes(_SIZE), "application/octet-stream", **headers)
        ended = time.perf_counter()
    except Denied:
        return Link(latency)
    return Link(latency, got / _least(between - began - latency), _SIZE / _least(ended - between - latency))


def _least(seconds: float) -> float:
    return max(seconds, 1e-6)
