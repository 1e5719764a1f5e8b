"""Ports of this machine."""

import socket

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A port that nobody is listening on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def taken(port: int, host: str = LOOPBACK) -> bool:
    """Whether somebody is listening on a port."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False


def listening(host: str | None, port: int) -> socket.socket:
    """A socket on a host's address, or on all addresses of this machine; raises `OSError`."""
    both = host is None and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both or ":" in (host or "") else socket.AF_INET
    found = socket.create_server((host or "", port), family=family, backlog=1024, dualstack_ipv6=both)
    found.setblocking(False)
    return found
