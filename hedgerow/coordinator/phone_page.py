"""Serves the page for phones below `/phone/`: the files of the build, and nothing else.

    GET /phone/             the page
    GET /phone/FILE         a file of the build, compressed if the browser takes that
    GET /phone/about.json   what the coordinator says of the run

Nothing here is secret, and whoever asks gets it. The headers let the page load and
call nothing but its own origin, and run no script but its own files.
"""

import logging
import re
import threading
from collections.abc import Mapping
from typing import final

from hedgerow.coordinator.folder import FederationError, FederationFolder
from hedgerow.coordinator.http_types import Refused, Reply, Request
from hedgerow.coordinator.phone_build import INDEX, Asset, Build, NoBuild, build_folder, load
from hedgerow.coordinator.phones import FILE, PATH, Phones, load_phones

log = logging.getLogger("hedgerow")

ABOUT = f"{PATH}about.json"

HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self';"
    " style-src 'self'; img-src 'self' data: blob:; font-src 'self'; connect-src 'self';"
    " manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "accelerometer=(self), gyroscope=(self), camera=(), geolocation=(),"
    " microphone=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Of all replies below `/phone/`; a host that serves the page elsewhere should send the same."""

_CALLS = "connect-src 'self'"
_MOVED = 308
_ENCODINGS = ("br", "gzip")  # the smallest first


@final
class PhonePage:
    """The page for the phones of a federation, read when the first one asks for it."""

    def __init__(self, folder: FederationFolder) -> None:
        self._folder, self._stamp = folder, (0, 0)
        self._phones: Phones | None = None
        self._build: Build | None = None
        self._reading = threading.Lock()

    @staticmethod
    def has(path: str) -> bool:
        """Whether a path is the page's; no part of it is used as a file name."""
        return path == PATH.rstrip("/") or path.startswith(PATH)

    @property
    def phones(self) -> Phones | None:
        """What the federation has for phones, read again when it has changed; `None` if there are none."""
        try:
            about = (self._folder.path / FILE).stat()
        except FileNotFoundError:
            return self._phones
        if (stamp := (about.st_mtime_ns, about.st_ino)) != self._stamp:
            self._stamp = stamp
            try:
                self._phones = load_phones(self._folder)
            except FederationError as error:
                log.error("%s", error)
        return self._phones

    def answer(self, request: Request) -> Reply:
        """The answer to a `GET` or `HEAD` of a path that it `has`; raises `Refused`."""
        with self._reading:
            phones = self.phones
            if phones is None:
                raise Refused(404, "this federation has no page for phones: 'hedgerow up --phones' opens it")
            if request.path == PATH.rstrip("/"):
                return Reply(_MOVED, b"", {"location": PATH})
            if request.path == ABOUT:
                if not phones.about:
                    raise Refused(404, "the federation's present run is not for phones")
                return Reply.of_json(200, phones.about, **{"cache-control": "no-store"})
            build = self._built(phones.build)
        asset = build.assets.get(request.path.removeprefix(PATH) or INDEX)
        if asset is None:
            raise Refused(404, "the page for phones has no such file")
        return _served(asset, request.headers)

    def _built(self, wanted: str) -> Build:
        """The page of that hash; raises `Refused`."""
        if self._build is None or self._build.hash != wanted:
            try:
                self._build = load(build_folder())
            except NoBuild as error:
                log.error("%s", error)
                raise Refused(
                    503, "the page for phones cannot be served; the coordinator's log says why"
                ) from error
        if self._build.hash != wanted:
            log.error(
                "the page for phones was built anew since; stop, and start 'hedgerow up' again to serve it"
            )
            raise Refused(503, "the page for phones was built anew; 'hedgerow up' must be started again")
        return self._build


def headers_elsewhere(coordinator: str) -> Mapping[str, str]:
    """Headers for a host that serves the page elsewhere, which may then call that coordinator too."""
    policy = HEADERS["content-security-policy"]
    return {**HEADERS, "content-security-policy": policy.replace(_CALLS, f"{_CALLS} {coordinator}")}


def _served(asset: Asset, headers: Mapping[str, str]) -> Reply:
    """A file in the encoding that the browser takes, or word that it has it already."""
    takes = accepted(headers.get("accept-encoding", ""))
    encoding = next((each for each in _ENCODINGS if each in takes and each in asset.bodies), "")
    tag = f'"{asset.digest[:32]}{encoding and "-" + encoding}"'
    found = {"cache-control": asset.cache, "etag": tag, "vary": "accept-encoding", "accept-ranges": "none"}
    known = {each.strip().removeprefix("W/") for each in headers.get("if-none-match", "").split(",")}
    if tag in known or "*" in known:
        return Reply(304, b"", found)
    if encoding:
        found["content-encoding"] = encoding
    return Reply(200, asset.bodies[encoding], {"content-type": asset.kind, **found})


def accepted(header: str) -> set[str]:
    """The content encodings that a browser names and does not refuse.

    >>> sorted(accepted("gzip, br;q=1.0, zstd;q=0")), accepted("*"), accepted("gzip;q=0.000")
    (['br', 'gzip'], set(), set())
    """
    found = set()
    for each in header.lower().split(","):
        name, _, quality = each.partition(";")
        if not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", quality):
            found.add(name.strip())
    return found & {*_ENCODINGS}
