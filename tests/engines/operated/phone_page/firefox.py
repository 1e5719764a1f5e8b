"""A real Firefox, driven by its Marionette protocol over TCP; nothing beside it is needed."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.engines.federation.processes import _free_ports
from tests.engines.operated.phone_page.tab import Tab

NAMES = ("firefox", "firefox-esr")
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key of an element's id in WebDriver."""


class Fox(Tab):
    """One page for phones in Firefox; `problems` has what the page itself could not catch."""

    def __init__(self, port: int) -> None:
        self._number, self._left, self.problems = 0, b"", []
        self._socket = connected(port)
        self._read()  # who it is
        self.order("WebDriver:NewSession", capabilities={"alwaysMatch": {"acceptInsecureCerts": False}})

    def order(self, name: str, **parameters: Any) -> Any:
        """Do something; returns what it gives."""
        self._number += 1
        text = json.dumps([0, self._number, name, parameters]).encode()
        self._socket.sendall(f"{len(text)}:".encode() + text)
        _, _, wrong, found = self._read()
        assert wrong is None, wrong
        return found

    def open(self, address: str) -> None:
        self.order("WebDriver:Navigate", url=address)

    def run(self, script: str) -> Any:
        return self.order("WebDriver:ExecuteScript", script=f"return ({script});", args=[])["value"]

    def later(self, script: str) -> Any:
        return self.run(script)  # a promise is waited for

    def pick(self, *files: Path) -> None:
        found = self.order("WebDriver:FindElement", using="css selector", value="input[type=file]")["value"]
        self.order("WebDriver:ElementSendKeys", id=found[ELEMENT], text="\n".join(map(str, files)))

    def close(self) -> None:
        self._socket.close()

    def _read(self) -> Any:
        while b":" not in self._left:
            self._more()
        size, _, self._left = self._left.partition(b":")
        while len(self._left) < int(size):
            self._more()
        text, self._left = self._left[: int(size)], self._left[int(size) :]
        return json.loads(text)

    def _more(self) -> None:
        data = self._socket.recv(2**16)
        assert data, "Firefox has ended"
        self._left += data


def connected(port: int, seconds: float = 120) -> socket.socket:
    """A connection, once Firefox listens."""
    until = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=seconds)
        except OSError:
            assert time.monotonic() < until, "Firefox does not listen"
            time.sleep(0.2)


@contextmanager
def firefox(profile: Path, ca: Path) -> Iterator[Fox]:
    """Start Firefox with a profile that trusts a CA, and end it; where there is none, the test is skipped."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("NO FIREFOX: the page for phones was NOT looked at in it; install it with: make firefox")
    profile.mkdir()
    store = f"sql:{profile}"
    subprocess.run(["certutil", "-d", store, "-N", "--empty-password"], check=True, capture_output=True)
    trusted = ["certutil", "-d", store, "-A", "-t", "C,,", "-n", "federation", "-i", str(ca)]
    subprocess.run(trusted, check=True, capture_output=True)
    (port,) = _free_ports(1)
    (profile / "user.js").write_text(f'user_pref("marionette.port", {port});\n')
    command = [program, "--headless", "--marionette", "--no-remote", "--profile", str(profile)]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, env={**os.environ, "HOME": str(profile), "MOZ_DISABLE_AUTO_SAFE_MODE": "1"},
    )  # fmt: skip
    try:
        tab = Fox(port)
        try:
            yield tab
        finally:
            tab.close()
    finally:
        process.terminate()
        process.wait(timeout=60)
