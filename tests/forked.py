"""A program in a process of its own that begins with torch, Flower and Hedgerow loaded.

Loading them takes some seconds of a core, each time. A test that wants a process to kill, or one in which no
other test has left anything, gets a fork of a server that has loaded them and done nothing else. Tests of
what a command or an import brings start Python themselves.
"""

import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        "dp_accounting.pld", "flwr.cli.app", "hedgerow.client.cohort.trainer",
        "hedgerow.experiments.runs.run", "hedgerow.experiments.runs.simulate", "hedgerow.simulation.grid",
        "tests.forked", "tests.support", "torch._dynamo",
    ]
)  # fmt: skip


def run(
    program: str,
    *arguments: object,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_seconds: float | None = None,
) -> "subprocess.CompletedProcess[str]":
    """As `subprocess.run([sys.executable, "-c", program, *arguments], ...)`, to its end."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        for file in (out, err):
            file.touch()
        process = start(program, *arguments, cwd=cwd, environment=environment, out=out, err=err)
        process.join(timeout_seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(program, timeout_seconds or 0, out.read_text(), err.read_text())
        return subprocess.CompletedProcess(program, process.exitcode, out.read_text(), err.read_text())


def start(
    program: str,
    *arguments: object,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    out: Path | None = None,
    err: Path | None = None,
) -> BaseProcess:
    """Start it; what it prints goes to files. Killed by signal n, its `exitcode` is -n."""
    given = {
        "arguments": [str(argument) for argument in arguments],
        "cwd": str(cwd or Path.cwd()),
        "environment": dict(os.environ if environment is None else environment),
        "files": [os.devnull, *(os.devnull if file is None else str(file) for file in (out, err))],
    }
    process = _SERVER.Process(target=_main, args=(program,), kwargs=given)
    process.start()
    return process


def _main(
    program: str, *, arguments: list[str], cwd: str, environment: dict[str, str], files: list[str]
) -> None:
    import numpy as np
    import torch

    for number, file in enumerate(files):
        opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for unlike_its_siblings in (random.seed, np.random.seed, torch.seed):
        unlike_its_siblings()
    sys.argv, sys.path = ["-c", *arguments], ["", *sys.path]
    main = sys.modules["__main__"] = ModuleType("__main__")
    exec(compile(program, "<string>", "exec"), main.__dict__)
