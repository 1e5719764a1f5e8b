"""The built page, given out as a coordinator does, without a federation; and what it has cost on the wire."""

import base64
import json
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hedgerow.coordinator.phone_page import HEADERS

KINDS = {
    ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json",
    ".svg": "image/svg+xml", ".png": "image/png", ".wasm": "application/wasm", ".mjs": "text/javascript",
    ".webmanifest": "application/manifest+json",
}  # fmt: skip
DIGITS = {"shape": [1, 28, 28], "classes": list("0123456789"), "lowest": [0.0], "highest": [1.0]}


class Served:
    """A host of the page; `folder` is what it gives out, and may be changed.

    Attributes:
        about: what it says of its run.
        answers: status and body for what is posted to a path; to others, it is busy.
        sent: bytes of all answers' bodies.
        asked: paths that were asked for.
        elsewhere: by path, to which address an answer leads instead of being one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.sent, self.about = folder, 0, dict[str, Any]()
        self.answers, self.elsewhere = dict[str, tuple[int, bytes]](), dict[str, str]()
        self.asked: list[str] = []
        of = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                of.asked.append(self.path)
                self._answer(*of.found(self.path.partition("?")[0]))

            def do_POST(self) -> None:
                of.asked.append(self.path)
                self.rfile.read(int(self.headers.get("content-length", 0)))
                status, body = of.answers.get(self.path, (503, b""))
                self._answer(status, body, "application/json", "")

            def _answer(self, status: int, body: bytes, kind: str, encoding: str) -> None:
                to = of.elsewhere.get(self.path)
                self.send_response(status if to is None else 307)
                if to is not None:
                    self.send_header("location", to)
                for name, value in HEADERS.items():
                    self.send_header(name, value)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.send_header("cache-control", "no-cache")
                if encoding:
                    self.send_header("content-encoding", encoding)
                self.end_headers()
                self.wfile.write(body)
                of.sent += len(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        self.address = f"{self.origin}/phone/"

    def found(self, path: str) -> tuple[int, bytes, str, str]:
        """Status, body, kind and encoding of the answer."""
        name = path.removeprefix("/phone/") or "index.html"
        if name == "about.json" and self.about:
            return 200, json.dumps(self.about).encode(), KINDS[".json"], ""
        file = self.folder / name
        if not path.startswith("/phone/") or not file.is_file():
            return 404, b"", "text/plain", ""
        packed = file.with_name(f"{name.rpartition('/')[2]}.gz")
        kind = KINDS[file.suffix]
        if packed.exists():
            return 200, packed.read_bytes(), kind, "gzip"
        return 200, file.read_bytes(), kind, ""

    def invitation(self, **more: str) -> str:
        """The page's address with an invitation."""
        text = json.dumps({"address": self.origin, "token": "A" * 24, **more})
        return f"{self.address}#{base64.urlsafe_b64encode(text.encode()).decode().rstrip('=')}"

    def close(self) -> None:
        """As if the host were away."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    host = Served(folder)
    try:
        yield host
    finally:
        host.close()


def another_build(built: Path, to: Path) -> Path:
    """The same page with another icon: another build, with its own list and its own service worker."""
    shutil.copytree(built, to, ignore=shutil.ignore_patterns("*.gz", "*.br"))
    before = _hash(to / "icon.svg")
    (to / "icon.svg").write_text((to / "icon.svg").read_text().replace("#23734a", "#3c6fb0"))
    now, worker = _hash(to / "icon.svg"), to / "sw.js"
    text = worker.read_text().replace(before, now)
    worker.write_text(re.sub(r'"version":"[0-9a-f]{64}"', f'"version":"{now}"', text))
    files = {**json.loads((to / "build.json").read_text())["files"], "icon.svg": now, "sw.js": _hash(worker)}
    (to / "build.json").write_text(json.dumps({"hash": now, "files": files}))
    return to


def _hash(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()
