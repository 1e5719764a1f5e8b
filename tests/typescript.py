"""The phone's part, in TypeScript (`web/`), compiled once for all tests that start it."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

WEB = Path(__file__).parents[1] / "web"
LEAST = (20, 19)


def why_not() -> str:
    """Why the tests of `web/` cannot run here; empty if they can."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return "there is no node, or no npm"
    found = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    version = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
    if version < LEAST:
        return f"node is {found.strip()}; it must be {LEAST[0]}.{LEAST[1]} or newer"
    if not (WEB / "node_modules" / ".package-lock.json").exists():
        return "its packages are not installed: make web"
    return ""


def npm(*command: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    """Run one of the package's scripts; `given` is its input."""
    return _run("npm", "run", "--silent", *command, given=given)


def node(script: str, *arguments: str | Path) -> str:
    """What a compiled script of `web/tests` prints."""
    done = _run("node", f"build/tests/{script}.js", *map(str, arguments))
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def compiled() -> None:
    """Compile, unless another process has; skips the test where it cannot be."""
    if why := why_not():
        pytest.skip(f"NO TYPESCRIPT: the phone's part was NOT tested: {why}")
    stamp, wanted = WEB / "build" / ".of", _hash_of_the_sources()
    with (WEB / "node_modules" / ".compiling").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        done = npm("build")
        assert done.returncode == 0, done.stdout + done.stderr
        stamp.write_text(wanted)


def _hash_of_the_sources() -> str:
    files = [*WEB.glob("*.json"), *(f for kind in ("src", "tests") for f in (WEB / kind).rglob("*.ts"))]
    found = hashlib.sha256()
    for file in sorted(files):
        found.update(f"{file}\n".encode() + file.read_bytes())
    return found.hexdigest()


def _run(*command: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, cwd=WEB, input=given, capture_output=True, text=True, timeout=600,
        env={**os.environ, "NODE_OPTIONS": "", "FORCE_COLOR": "0"},
    )  # fmt: skip
