"""The phone's part, in TypeScript (`web/`), is held to the same golden files."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "web"
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


def test_the_typescript_client_does_what_the_golden_files_say():
    if why := why_not():
        pytest.skip(f"NO TYPESCRIPT: the phone's part was NOT tested: {why}")
    done = subprocess.run(
        ["npm", "test", "--silent"], cwd=WEB, capture_output=True, text=True, timeout=600,
        env={**os.environ, "NODE_OPTIONS": "", "FORCE_COLOR": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"^# pass (\d+)$", done.stdout, re.MULTILINE)
    assert passed, done.stdout
    assert int(passed[1]) >= 182
