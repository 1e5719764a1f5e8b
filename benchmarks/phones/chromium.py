"""Steps in a worker of a page in Chromium: the processor's time and memory of the page's process."""

import functools
import http.server
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.engines.operated.browser import Browser, browser

WEB = Path(__file__).resolve().parents[2] / "web"


class Tab(Browser):
    """A page whose worker trains when it is asked."""

    def asked(self, call: str, given: str = "") -> float:
        """Milliseconds that the worker took for a call."""
        asked = f"asked({call!r}, {given!r})"
        found = self._call("Runtime.evaluate", expression=asked, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return float(found["result"]["value"])

    @property
    def spent(self) -> float:
        """The processor's milliseconds of the page's process so far."""
        return 1000 * float(self._process["cpuTime"])

    @property
    def most_mebibytes(self) -> float:
        """Of memory that the page's process has held at any time."""
        told = Path(f"/proc/{self._process['id']}/status").read_text().split("VmHWM:")[1]
        return int(told.split()[0]) / 1024

    @property
    def _process(self) -> dict[str, Any]:
        mine, self._session = self._session, None
        told = self._call("SystemInfo.getProcessInfo")["processInfo"]
        self._session = mine
        return max((each for each in told if each["type"] == "renderer"), key=lambda each: each["cpuTime"])


class _Files(http.server.SimpleHTTPRequestHandler):
    """Files with what an isolated page needs, whose clock is finer."""

    extensions_map = {  # noqa: RUF012 (as its parent has it)
        **http.server.SimpleHTTPRequestHandler.extensions_map, ".wasm": "application/wasm",
    }  # fmt: skip

    def end_headers(self) -> None:
        self.send_header("cross-origin-opener-policy", "same-origin")
        self.send_header("cross-origin-embedder-policy", "require-corp")
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def build(folder: Path) -> None:
    """Build the page into a folder."""
    command = [
        "npx",
        "vite",
        "build",
        "--config",
        "tests/timed/vite.config.ts",
        "--outDir",
        str(folder),
        "--emptyOutDir",
    ]
    subprocess.run(command, cwd=WEB, check=True)


@contextmanager
def page(folder: Path) -> Iterator[Tab]:
    """The page that was built into a folder, in a browser of its own; its worker has loaded nothing yet."""
    handler = functools.partial(_Files, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with browser(Tab) as tab:
                tab.open(f"http://127.0.0.1:{server.server_address[1]}/")
                tab.wait("'asked' in globalThis")
                yield tab
        finally:
            server.shutdown()
