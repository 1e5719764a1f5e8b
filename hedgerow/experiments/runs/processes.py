"""Processes: how many this machine has cores for, and running a module in a separate one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hedgerow.node.confinement import OF_LIBRARIES


def cores() -> int:
    """Number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Numerical libraries of processes started in here use one thread, unless the user has set a number."""
    unset = [name for name in OF_LIBRARIES if name not in os.environ]
    os.environ.update(dict.fromkeys(unset, "1"))
    try:
        yield
    finally:
        for name in unset:
            del os.environ[name]


def run_module(module: str, options: dict[str, Any]) -> int:
    """Run `python -m module OPTIONS` on this terminal, with the options as JSON; returns its exit code.

    The current folder is not on its path. A process ended by signal n returns -n.
    """
    child = subprocess.Popen([sys.executable, "-P", "-m", module, json.dumps(options)])
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:  # the child gets the same Ctrl-C, and ends by itself
            continue
