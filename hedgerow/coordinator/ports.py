"""Ports of this machine."""

import socket

from hedgerow.coordinator.certificates import LOOPBACK


def free_port() -> int:
    """One that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK[0], 0))
        return int(probe.getsockname()[1])


def taken(port: int, host: str = LOOPBACK[0]) -> bool:
    """Whether something listens on it."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False
