"""A connection to the coordinator: kept open, with signed calls, and reopened when it drops."""

import http.client
import ipaddress
import logging
import secrets
import ssl
import time
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from hedgerow.node.keys import NodeKey
from hedgerow.promotion.delivered import HEADER
from hedgerow.wire.text import read_json

log = logging.getLogger("hedgerow")

_SECONDS = 60.0
_AHEAD, _BEHIND = 5.0, 300.0
_NOT_YET, _EXPIRED = 9, 10  # OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and _HAS_EXPIRED
_LARGEST_REPLY = 64 * 2**20


class Unreachable(OSError):
    """No answer, or one that says "later".

    Attributes:
        seconds: to wait, if the server has said so.
        status: HTTP status; 0 if there was no answer.
    """

    def __init__(self, text: str, seconds: float = 0.0, status: int = 0) -> None:
        super().__init__(text)
        self.seconds, self.status = seconds, status


class Denied(Exception):
    """The server has refused.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"the server refuses ({status}): {text}")
        self.status = status


@final
class Backoff:
    """How long to wait between attempts: up to twice as long each time, at random.

    So devices that were cut off together do not all come back at once.
    """

    def __init__(self, first: float = 0.5, longest: float = 60.0) -> None:
        self._first, self._longest, self._next = first, longest, first
        self._random = secrets.SystemRandom()

    def seconds(self, least: float = 0.0) -> float:
        """How long to wait next; at least `least`."""
        upto, self._next = self._next, min(2 * self._next, self._longest)
        return max(least, self._random.uniform(upto / 2, upto))

    def reset(self) -> None:
        """Start over, after a successful attempt."""
        self._next = self._first


def check_address(address: str) -> None:
    """Raise `ValueError` if it is not an address, or is one on another machine without TLS."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError(f"the address is {address!r}; it must be https://HOST:PORT")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError(
            f"the address is {address!r}; for another machine it must be https://, because the signature of"
            " a call protects nothing else in it"
        )


@final
class Connection:
    """Calls of one node, one after another; the address is looked up again for each new connection.

    Args:
        address: `https://host:port`; `http://` only on this machine.
        ca: PEM of the CAs for the server's certificate; `None` for those that the system trusts.
        key: signs each call.
        seconds: to wait for an answer.

    Raises:
        ValueError: the address is invalid, or the certificates cannot be read.
    """

    def __init__(self, address: str, ca: str | None, key: NodeKey, *, seconds: float = _SECONDS) -> None:
        check_address(address)
        self._parts, self._key, self._seconds = urlsplit(address), key, seconds
        self._tls = None
        if self._parts.scheme == "https":
            try:
                self._tls = ssl.create_default_context(cadata=ca)
            except ssl.SSLError as error:
                raise ValueError(f"the certificates of the kit cannot be read: {error}") from error
            self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._open: http.client.HTTPConnection | None = None
        self.pace: float | None = None
        """Seconds until the next poll, from the last answer; `None` if it said nothing."""
        self.model = ""
        """Hash of the coordinator's promoted model, from the last answer; empty if it named none."""
        self.held = 0.0
        """Seconds for which the server held the last call until it had something to say."""
        self.ahead: float | None = None
        """Seconds by which this machine's clock is ahead of the server's; `None` if that is not known."""

    def call(
        self, path: str, body: bytes, kind: str = "application/protobuf", method: str = "POST", **more: str
    ) -> bytes:
        """Make a call, and return the answer's body.

        Args:
            more: further headers.

        Raises:
            Unreachable: there is no answer, or the server is busy or starting.
            Denied: the server refuses.
        """
        headers = {"content-type": kind, "user-agent": "hedgerow", **more, **self._key.headers()}
        for attempt in (1, 2):
            kept = self._open is not None
            try:
                return self._answer(path, body, method, headers)
            except ssl.SSLCertVerificationError as error:
                self.close()
                raise Unreachable(f"{self._parts.netloc} {_distrust(error)}") from error
            except (http.client.HTTPException, OSError) as error:
                self.close()
                if isinstance(error, Unreachable):
                    raise
                # Servers close idle connections, so try once more on a new one.
                if not kept or attempt == 2 or isinstance(error, TimeoutError):
                    raise Unreachable(f"{self._parts.netloc} does not answer: {error}") from error
        raise AssertionError  # pragma: no cover

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _answer(self, path: str, body: bytes, method: str, headers: Mapping[str, str]) -> bytes:
        if self._open is None:
            self._open = self._connect()
        self._open.request(method, path, body or None, dict(headers))
        response = self._open.getresponse()
        data = response.read(_LARGEST_REPLY + 1)
        if len(data) > _LARGEST_REPLY:
            raise http.client.HTTPException(f"an answer of more than {_LARGEST_REPLY} bytes")
        self.ahead = _ahead(response.getheader("date") or "")
        pace = response.getheader("hedgerow-pace")
        self.pace = _number(pace) if pace else None
        self.model = response.getheader(HEADER) or ""
        self.held = _number(response.getheader("hedgerow-held") or "0")
        if response.status == 200:
            return data
        text = _reason(data)
        if response.status in (408, 429) or response.status >= 500:
            raise Unreachable(
                f"{self._parts.netloc} is busy ({response.status}): {text}",
                _number(response.getheader("retry-after") or "0"),
                response.status,
            )
        raise Denied(response.status, text)

    def _connect(self) -> http.client.HTTPConnection:
        host = self._parts.hostname or ""
        port = self._parts.port or (443 if self._tls else 80)
        if self._tls is None:
            return http.client.HTTPConnection(host, port, timeout=self._seconds)
        proxy = getproxies().get("https")
        if proxy and not proxy_bypass(host):
            way = urlsplit(proxy if "//" in proxy else f"//{proxy}")
            through = http.client.HTTPSConnection(
                way.hostname or "", way.port or 3128, timeout=self._seconds, context=self._tls
            )
            through.set_tunnel(host, port)
            return through
        return http.client.HTTPSConnection(host, port, timeout=self._seconds, context=self._tls)


def is_right(ahead: float) -> bool:
    """Whether a server takes calls from a machine whose clock is so many seconds ahead.

    >>> is_right(4.0), is_right(7.0), is_right(-290.0), is_right(-310.0)
    (True, False, True, False)
    """
    return -_BEHIND < ahead < _AHEAD + 1  # a server tells its time in whole seconds


def remedy(status: int, ahead: float | None) -> str:
    """What to do about a refusal; `ahead` is how far this device's clock is ahead of the server's."""
    if status == 401 and ahead is not None and not is_right(ahead):
        much = f"{abs(ahead):.0f} s" if abs(ahead) < 100 else f"{abs(ahead) / 60:.0f} min"
        return f"; this device's clock is {much} {'ahead of' if ahead > 0 else 'behind'} the server's"
    if status == 401 and ahead is not None:
        return "; if it was revoked, it needs a new kit: hedgerow leave, and join with that"
    return _REMEDIES.get(status, "")


def _ahead(date: str) -> float | None:
    try:
        return time.time() - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def _distrust(error: ssl.SSLCertVerificationError) -> str:
    """Why a server's certificate is not accepted."""
    shows = f"by this device's clock, which shows {datetime.now():%d %B %Y}"
    if error.verify_code == _NOT_YET:
        return f"has a certificate that is not valid yet, {shows}: the clock is wrong, or the server's was"
    if error.verify_code == _EXPIRED:
        return f"has a certificate that has expired, {shows}"
    return f"is not the server in the kit: {error.verify_message}"


def _number(text: str) -> float:
    """The seconds that a server has named, within limits."""
    try:
        return min(max(float(text), 0.0), 60.0)
    except ValueError:
        return 0.0


def _reason(data: bytes) -> str:
    """A server's reason for refusing, as a short text."""
    text = data[:2000].decode(errors="replace")
    try:
        found = read_json(text)
        text = str(found.get("error") or found.get("detail") or found.get("public_message") or text)
    except (ValueError, AttributeError):
        pass
    return " ".join(text.split())[:300] or "no reason given"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_REMEDIES = {
    401: "; this device was revoked, or its clock is wrong",
    404: "; is a Hedgerow coordinator or a SuperLink at this address?",
    412: "; its last session is not over yet",
}
