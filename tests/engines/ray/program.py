"""A program of this folder in a process of its own, where it may start Flower's engine."""

import os
import subprocess
import sys

from tests.engines.stateful_run import ROOT


def program(module: str, *arguments: str, **env: str) -> str:
    """Run apps on Flower's engine; what it said."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.engines.{module}", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_DEDUP_LOGS": "0", **env},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr
