"""What stands before the gateway for browsers: the page for phones, and leave for pages of other origins.

A page that another host serves may call the paths for devices if `hedgerow up
--phones-origin` has listed its origin, letter by letter. It never gets leave to
send cookies, and there are none: a device signs its calls.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import final

from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.gateway import Gateway
from hedgerow.coordinator.http_types import Refused, Reply, Request
from hedgerow.coordinator.pace import Rates
from hedgerow.coordinator.phone_page import ABOUT, HEADERS, PhonePage
from hedgerow.coordinator.senders import SIGNED
from hedgerow.promotion.delivered import HEADER

_LEAVE_SECONDS = 600
_SENT = ", ".join(("content-type", "if-none-match", "prefer", *SIGNED))
_SHOWN = ", ".join(("date", "etag", "hedgerow-held", HEADER, "hedgerow-pace", "retry-after"))
_PRIVATE = "private-network"  # a public page that calls a machine of the local network


@final
class Entrance:
    """A `Handler` for one federation; `run` does periodic work."""

    def __init__(self, folder: FederationFolder) -> None:
        self.gateway, self._page = Gateway(folder), PhonePage(folder)
        # Of their own, so that many visitors keep no device from joining.
        self._visitors = Rates(per_second=10.0, burst=400)

    def admit(self, request: Request) -> int:
        """The most bytes that the body may have; raises `Refused`."""
        with self._as_may_be_shown(request):
            if self._asks_leave(request) or PhonePage.has(request.path):
                if wait := self._visitors.wait(request.peer):
                    raise Refused(429, "too many calls", **{"retry-after": str(max(1, round(wait)))})
                if not self._asks_leave(request) and request.method not in ("GET", "HEAD"):
                    raise Refused(405, f"{request.path} does not take {request.method}", allow="GET, HEAD")
                return 0
            return self.gateway.admit(request)

    async def answer(self, request: Request, body: bytes) -> Reply:
        """The answer to a request; raises `Refused`."""
        with self._as_may_be_shown(request):
            if self._asks_leave(request):
                reply = Reply(200, b"", self._leave(request))
            elif PhonePage.has(request.path):
                reply = await asyncio.to_thread(self._page.answer, request)
            else:
                reply = await self.gateway.answer(request, body)
        return replace(reply, headers={**reply.headers, **self._beside(request)})

    async def run(self) -> None:
        """The gateway's periodic work; never returns."""
        await self.gateway.run()

    async def close(self) -> None:
        """Close the gateway's connections."""
        await self.gateway.close()

    @contextmanager
    def _as_may_be_shown(self, request: Request) -> Iterator[None]:
        """Give a refusal the headers without which a browser does not show it to a page."""
        try:
            yield
        except Refused as refused:
            refused.headers = {**refused.headers, **self._beside(request)}
            raise

    def _beside(self, request: Request) -> Mapping[str, str]:
        """Headers that a reply has on top of its own."""
        own = HEADERS if PhonePage.has(request.path) else {}
        if not self._listed(request):
            return own
        return {**own, "access-control-allow-origin": request.headers["origin"],
                "access-control-expose-headers": _SHOWN, "vary": "origin"}  # fmt: skip

    def _listed(self, request: Request) -> bool:
        """Whether the request is from a page of a listed origin, for a path that such a page may call."""
        phones = self._page.phones if "origin" in request.headers else None
        open_to_pages = request.path == ABOUT or self.gateway.has(request.path)
        return phones is not None and open_to_pages and request.headers["origin"] in phones.origins

    def _asks_leave(self, request: Request) -> bool:
        """Whether a browser asks first what a listed page may send ("preflight")."""
        return request.method == "OPTIONS" and self._listed(request)

    def _leave(self, request: Request) -> Mapping[str, str]:
        """What a listed page may send."""
        private = request.headers.get(f"access-control-request-{_PRIVATE}") == "true"
        return {
            "access-control-allow-methods": "GET, POST",
            "access-control-allow-headers": _SENT,
            "access-control-max-age": str(_LEAVE_SECONDS),
            **({f"access-control-allow-{_PRIVATE}": "true"} if private else {}),
        }
