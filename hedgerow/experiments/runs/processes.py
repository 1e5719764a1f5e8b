"""Processes: how many there is room for, and a module of ours in one of its own."""

import json
import os
import subprocess
import sys
from typing import Any


def cores() -> int:
    """Number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_module(module: str, options: dict[str, Any]) -> int:
    """Run `python -m module OPTIONS` on this process's terminal, with the options as JSON; its exit code.

    The current folder is not on its path. A process that is ended by signal n gives -n.
    """
    child = subprocess.Popen([sys.executable, "-P", "-m", module, json.dumps(options)])
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:  # the child gets the same Ctrl-C, and ends by itself
            continue
