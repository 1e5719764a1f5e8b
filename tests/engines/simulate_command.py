"""`hedgerow simulate` in a process of its own, on the small Flower apps beside this file."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TINY, CNN, SHAPES, SECAGG = (HERE / f"{name}-app" for name in ("tiny", "cnn", "shapes", "secagg"))
QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "RAY_DEDUP_LOGS": "0"}


def simulate(
    folder: Path, *options: str, cwd: Path, env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    command = "from hedgerow.experiments.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", command, "simulate", str(folder), *options],
        cwd=cwd,
        env={**os.environ, **QUIET, **(env or {})},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def result(done: "subprocess.CompletedProcess[str]") -> Any:
    """What the app says, on a line that begins with RESULT."""
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    return json.loads(line.removeprefix("RESULT "))


def changed_copy(folder: Path, old: str, new: str) -> Path:
    """The tiny app with one change."""
    shutil.copytree(TINY, folder)
    text = (folder / "tiny.py").read_text()
    assert old in text
    (folder / "tiny.py").write_text(text.replace(old, new))
    return folder
