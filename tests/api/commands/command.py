"""The command line, in this process or started as a user does."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from typer.testing import CliRunner, Result

from hedgerow.experiments.cli.main import app

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-c", "from hedgerow.experiments.cli.start import main; main()"]


def hedgerow(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), prog_name="hedgerow", input=stdin)


def start(*arguments: str) -> subprocess.Popen[str]:
    # A process group of its own, as a shell gives to a command: Ctrl-C reaches all of it.
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that runs the tests in the background has them ignore Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 600
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def rounds(folder: str) -> int:
    file = Path(folder) / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.is_file() else 0
