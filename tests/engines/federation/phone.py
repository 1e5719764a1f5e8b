"""A phone without a screen: node runs what a phone's page runs, see `web/tests/headless`."""

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hedgerow.coordinator.certificates import authority
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.phones import invite_phones
from tests.engines.stateful_run import ROOT

PROGRAM = ROOT / "web" / "build" / "tests" / "headless" / "browser.js"
Told = dict[str, Any]

RULES = {"masked_only": False, "min_clients": 3, "corrupt": 0.0, "evaluate": True, "statistics": True}


class HeadlessPhone:
    """A browser, of which pages are opened and closed; `told` is what they said, oldest first."""

    def __init__(self, folder: FederationFolder, token: str, data: Path, signer: str) -> None:
        self._invitation = {"address": folder.settings.address, "token": token}
        self.told = list[Told]()
        node, ca = shutil.which("node"), authority(folder).certificate
        assert node is not None
        self._owner = {"table": data.read_text(), "rules": RULES, "signer": signer}
        self._process = subprocess.Popen(
            [node, str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "NODE_OPTIONS": "", "NODE_EXTRA_CA_CERTS": str(ca)},
        )  # fmt: skip
        self._listens = threading.Thread(target=self._listen, daemon=True)
        self._listens.start()

    def open(self, page: str, what: str, **more: Any) -> None:
        """Open a page that joins, lives as the phone that has joined, or leaves."""
        self._do("open", page=page, what=what, invitation=self._invitation, **self._owner, **more)

    def stop(self, page: str) -> None:
        """Ask a page to end; the coordinator is told."""
        self._do("stop", page=page)

    def close(self, page: str) -> None:
        """Close a page, whatever it does."""
        self._do("close", page=page)

    def until(self, ready: Callable[[Told], object], what: str, since: int = 0, seconds: float = 240) -> Told:
        """Wait until something is told; returns it."""
        until = time.monotonic() + seconds
        while not (found := [each for each in self.told[since:] if ready(each)]):
            broken = [each for each in self.told if each["kind"] in ("broken", "failed")]
            assert not broken, broken
            assert time.monotonic() < until, f"no {what}: {self.told[-10:]}"
            time.sleep(0.02)
        return found[0]

    def state(self, state: str, since: int = 0) -> str:
        """Wait for a state; returns the sentence that says so."""
        return str(self.until(lambda told: told.get("state") == state, state, since)["sentence"])

    def kept(self) -> list[str]:
        """Names of what the browser keeps."""
        since = len(self.told)
        self._do("names")
        return list(self.until(lambda told: told["kind"] == "names", "names", since)["names"])

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._listens.join(timeout=30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _do(self, command: str, **more: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": command, **more}) + "\n")
        self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.told.append(json.loads(line))


@contextmanager
def phones(folder: FederationFolder, tables: Sequence[Path], signer: str) -> Iterator[list[HeadlessPhone]]:
    """Phones invited by one code, each with a file of its own; they take graphs that this key signed."""
    token = invite_phones(folder, len(tables))
    made = [HeadlessPhone(folder, token, table, signer) for table in tables]
    try:
        yield made
    finally:
        for each in made:
            each.end()
