"""The status page: a live view of a federation in a browser, for whoever has its address with the token.

A separate process, `python -m hedgerow.coordinator.page FOLDER PARENT`, that only reads files. It loads
nothing from elsewhere, and forbids the browser to. `/metrics` is for Prometheus.
"""

import asyncio
import hashlib
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from hedgerow.coordinator.beats import BEAT_SECONDS, beat, beat_file
from hedgerow.coordinator.code import as_svg
from hedgerow.coordinator.folder import FederationError, FederationFolder
from hedgerow.coordinator.members import load_members
from hedgerow.coordinator.metrics import MEDIA, exposition, metrics_token
from hedgerow.coordinator.phones import lets_in
from hedgerow.coordinator.watch import snapshot

FILE = "page.json"

CODE = "HEDGEROW_PHONES"
"""Variable with the address for phones, which is in no file, because it lets phones in."""

_LOOK_SECONDS = 1.0
_BEAT_SECONDS = 15.0
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';"
    " img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}
_ASSETS = {"page.js": "text/javascript", "page.css": "text/css"}


def new_token(folder: FederationFolder, host: str, port: int) -> str:
    """A new token for the page; the folder keeps only its hash, and the old token becomes invalid."""
    token = secrets.token_urlsafe(24)
    folder.write(FILE, {"hash": _hash(token), "host": host, "port": port})
    return token


def page_app(folder: FederationFolder) -> Starlette:
    """The page, its script and style, and the stream of its data."""
    page = files("hedgerow.coordinator") / "page_files"

    def allowed(request: Request) -> bool:
        given = _hash(request.query_params.get("token", ""))
        return secrets.compare_digest(given, str(folder.read(FILE, {}).get("hash", "")))

    async def whole(request: Request) -> Response:
        if not allowed(request):
            return Response("the address needs the token that 'hedgerow up' printed\n", 403, _HEADERS)
        return Response((page / "page.html").read_bytes(), 200, _HEADERS, "text/html")

    async def asset(request: Request) -> Response:
        name = str(request.path_params["name"])
        if name not in _ASSETS:
            return Response("there is no such file\n", 404, _HEADERS)
        return Response((page / name).read_bytes(), 200, _HEADERS, _ASSETS[name])

    async def events(request: Request) -> Response:
        if not allowed(request):
            return Response("", 403, _HEADERS)
        headers = {**_HEADERS, "x-accel-buffering": "no"}
        return StreamingResponse(_events(folder, request), 200, headers, "text/event-stream")

    async def phones(request: Request) -> Response:
        if not allowed(request) or not _shows_code(folder):
            return Response("", 403, _HEADERS)
        return Response(as_svg(os.environ[CODE]), 200, _HEADERS, "image/svg+xml")

    async def metrics(request: Request) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not secrets.compare_digest(given.encode(), metrics_token(folder).encode()):
            return Response("metrics need the key in metrics.token, as a bearer token\n", 401, _HEADERS)
        return Response(await asyncio.to_thread(exposition, folder), 200, _HEADERS, MEDIA)

    return Starlette(
        routes=[
            Route("/", whole), Route("/events", events), Route("/metrics", metrics),
            Route("/phones.svg", phones), Route("/{name}", asset),
        ]
    )  # fmt: skip


async def _events(folder: FederationFolder, request: Request) -> AsyncIterator[str]:
    """The data shown, whenever it changes; now and then a comment, to keep the connection alive."""
    last, quiet = "", 0.0
    while not await request.is_disconnected():
        try:
            shown = await asyncio.to_thread(snapshot, folder) | {"code": _shows_code(folder)}
            now = json.dumps(shown, ensure_ascii=False)
        except (FederationError, OSError, ValueError, KeyError):
            now = last  # a file is being written; try again at the next look
        if now != last:
            yield f"data: {now}\n\n"
            last, quiet = now, 0.0
        elif quiet >= _BEAT_SECONDS:
            yield ": still here\n\n"
            quiet = 0.0
        await asyncio.sleep(_LOOK_SECONDS)
        quiet += _LOOK_SECONDS


async def serve(folder: FederationFolder, parent: int) -> None:
    """Serve the page until the process is told to end, or its parent has ended."""
    found = folder.read(FILE, {})
    config = uvicorn.Config(
        page_app(folder), host=str(found["host"]), port=int(found["port"]), log_level="warning",
        access_log=False, server_header=False, limit_concurrency=64, timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)

    async def watch() -> None:
        while os.getppid() == parent:
            beat(beat_file(folder, "page"))
            await asyncio.sleep(BEAT_SECONDS)
        server.should_exit = True

    watching = asyncio.create_task(watch())
    await server.serve()
    watching.cancel()


def _shows_code(folder: FederationFolder) -> bool:
    """Whether phones can still join by the code that this page was given."""
    return lets_in(load_members(folder).open, os.environ.get(CODE, ""))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


if __name__ == "__main__":
    asyncio.run(serve(FederationFolder.open(Path(sys.argv[1])), int(sys.argv[2])))
