"""A real Chromium, driven through its DevTools protocol over a pipe; nothing beside it is needed."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

SILENT = 120.0
"""Seconds without a word from Chromium, which is then taken for dead."""

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


class Crashed(AssertionError):
    """Chromium's process for the page has ended."""


class Browser:
    """One page; `problems` has what its console complained about."""

    def __init__(self, write: int, read: int) -> None:
        self._out, self._in, self._number, self._left = write, read, 0, b""
        self.problems: list[str] = []
        self._session: str | None = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, address: str) -> None:
        self._call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def size(self, width: int, height: int, *, dark: bool = False) -> None:
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._call("Emulation.setEmulatedMedia", features=features)

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str, seconds: float = 60.0) -> None:
        until = time.monotonic() + seconds
        while not self.run(condition):
            assert time.monotonic() < until, (
                f"{condition} does not come\n{self.run('document.body.innerText')}"
            )
            time.sleep(0.1)

    def move(self, x: float, y: float) -> None:
        """Move the pointer to a place of the window."""
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def picture(self, file: Path, *, whole: bool = False) -> None:
        found = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(found["data"]))

    def _call(self, method: str, **parameters: Any) -> Any:
        number = self._ask(self._session, method, parameters)
        while True:
            said = self._next()
            if said.get("id") == number:
                assert "error" not in said, said
                return said["result"]
            self._listen(said.get("method", ""), said.get("params", {}))

    def _ask(self, session: str | None, method: str, parameters: dict[str, Any]) -> int:
        """Ask for something, without waiting for an answer; returns the question's number."""
        self._number += 1
        asked: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            asked["sessionId"] = session
        os.write(self._out, json.dumps(asked).encode() + b"\0")
        return self._number

    def _listen(self, event: str, about: dict[str, Any]) -> None:
        if event == "Inspector.targetCrashed":
            raise Crashed("the page has crashed")
        if event == "Runtime.exceptionThrown":
            self.problems.append(str(about["exceptionDetails"]))
        if event == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
            self.problems.append(str(about["args"]))
        if event == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            assert select.select([self._in], [], [], SILENT)[0], f"Chromium has said nothing for {SILENT:g} s"
            more = os.read(self._in, 2**20)
            assert more, "Chromium has ended"
            self._left += more
        message, _, self._left = self._left.partition(b"\0")
        return dict(json.loads(message))


Page = TypeVar("Page", bound=Browser)


@contextmanager
def browser(
    kind: type[Page] = Browser,
    *more: str,
    variables: Mapping[str, str] | None = None,  # type: ignore[assignment]
) -> Iterator[Page]:
    """Start Chromium, and end it; where there is none, the test is skipped, and says so.

    Args:
        kind: of the page.
        more: options of Chromium, without dashes.
        variables: its environment, in place of this process's.
    """
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("NO CHROMIUM: the status page was NOT looked at; install it with: make browser")
    (to_read, to_write), (from_read, from_write) = os.pipe(), os.pipe()

    def as_it_expects() -> None:
        first, second = os.dup(to_read), os.dup(from_write)
        os.dup2(first, 3)
        os.dup2(second, 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = (
            "headless=new", "remote-debugging-pipe", f"user-data-dir={profile}", "no-first-run", "no-sandbox",
            "disable-gpu", "disable-dev-shm-usage", "disable-background-networking", "hide-scrollbars",
            "disable-component-update", "no-default-browser-check", *more,
        )  # fmt: skip
        process = subprocess.Popen(
            [program, *(f"--{option}" for option in options)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=as_it_expects, close_fds=False, start_new_session=True, env=variables,
        )  # fmt: skip
        os.close(to_read)
        os.close(from_write)
        try:
            yield kind(to_write, from_read)
        finally:
            process.terminate()
            process.wait(timeout=30)
            os.close(to_write)
            os.close(from_read)
