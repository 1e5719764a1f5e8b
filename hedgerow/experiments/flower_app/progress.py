"""What is shown while a Flower app runs, and at its end."""

import logging
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from hedgerow.experiments.cli.progress import can_redraw
from hedgerow.simulation import clients
from hedgerow.simulation.flower_app.app import FlowerApp
from hedgerow.simulation.flower_app.counts import MessageCounts

SECONDS_BETWEEN_LINES = 10.0  # if there is no terminal
_SHOWN_FAILURES = 5
_FRAME = re.compile(r'  File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>.+)\n(?: {4}(?P<code>.+)\n)?')
_JOINTS = ("Traceback (most", "The above exception", "During handling of")


@contextmanager
def show(app: FlowerApp) -> Iterator[Callable[[MessageCounts], None]]:
    """Show progress on stderr: a live line on a terminal, a line from time to time elsewhere.

    The number of rounds is known if the run config has it under the name that
    Flower's own apps use.
    """
    configured = app.run_config.get("num-server-rounds")
    rounds = configured if type(configured) is int else None
    console = Console(stderr=True, highlight=False)
    if not can_redraw(console):
        yield _lines(console, rounds)
        return
    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TextColumn("messages  {task.fields[note]}", markup=False),
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    )
    with bars:
        for handler in logging.getLogger("flwr").handlers:  # it has kept the old stderr
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(sys.stderr)
        task = bars.add_task(app.name, total=None, note="")

        def on_change(counts: MessageCounts) -> None:
            bars.update(
                task,
                description=_round(counts, rounds) or app.name,
                completed=counts.answered,
                total=counts.sent,
                note=f"{counts.clients_per_second:.1f} clients/s{_left(counts, rounds)}",
            )

        yield on_change


def summary(counts: MessageCounts, seconds: float) -> str:
    """One line: seconds, messages, clients a second, and failed clients by name.

    >>> summary(MessageCounts(sent=4, answered=4, seconds=2.0), 3.0)
    '3.0 s, 4 messages, 2.0 clients a second, no client failed'
    """
    text = f"{seconds:.1f} s, {_messages(counts)}, {counts.clients_per_second:.1f} clients a second, "
    if not counts.failed:
        return text + "no client failed"
    named = [f"client {client} ({times}x)" for client, times in sorted(counts.failed.items())]
    more = f" and {len(named) - 20} more" if len(named) > 20 else ""
    return text + f"failed: {', '.join(named[:20])}{more}"


def short_traceback(error: BaseException, folder: Path) -> str:
    """An error with the app's own frames, and the last frame wherever it is."""
    text = _shortened("".join(traceback.format_exception(error)), folder)
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "flwr":
        text += f"\nthe app was written for another version of Flower; {version('flwr')} is installed"
    elif isinstance(error, ModuleNotFoundError):
        text += f"\nthe app needs it; install the app's dependencies with: pip install {folder}"
    return text


def log_clients(folder: Path) -> None:
    """Show clients' failures, each different one once, and only the first few."""
    logging.getLogger(clients.__name__).setLevel(logging.DEBUG)  # authors of apps want tracebacks
    logger = logging.getLogger("hedgerow")
    logger.addHandler(_Failures(folder))
    logger.propagate = False


@final
class _Failures(logging.Handler):
    def __init__(self, folder: Path) -> None:
        super().__init__(logging.WARNING)
        self._folder = folder
        self._seen: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        # A worker process sends its records as text, with the traceback at the end.
        message, _, trace = record.getMessage().partition("\n")
        if record.exc_info and record.exc_info[1]:
            trace = "".join(traceback.format_exception(record.exc_info[1]))
        trace = _shortened(trace, self._folder)
        seen = trace or message
        if seen in self._seen or len(self._seen) >= _SHOWN_FAILURES:
            return
        self._seen.add(seen)
        sys.stderr.write(f"{message}\n{trace}\n" if trace else f"{message}\n")


def _lines(console: Console, rounds: int | None) -> Callable[[MessageCounts], None]:
    began = time.monotonic()
    last = began

    def on_change(counts: MessageCounts) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < SECONDS_BETWEEN_LINES:
            return
        last = now
        round_ = f"{_round(counts, rounds)}, " if counts.round is not None else ""
        console.print(
            Text(
                f"{now - began:.0f} s: {round_}{_messages(counts)},"
                f" {counts.clients_per_second:.1f} clients/s{_left(counts, rounds)}"
            ),
            soft_wrap=True,
        )

    return on_change


def _messages(counts: MessageCounts) -> str:
    return f"{counts.answered} messages" if counts.answered == counts.sent else (
        f"{counts.answered} of {counts.sent} messages"
    )  # fmt: skip


def _round(counts: MessageCounts, rounds: int | None) -> str:
    if counts.round is None:
        return ""
    return f"round {counts.round}" + (f" of {rounds}" if rounds else "")


def _left(counts: MessageCounts, rounds: int | None) -> str:
    """The remaining time, estimated from finished rounds; empty if unknown."""
    if not rounds or not counts.round or not 2 <= counts.round <= rounds:
        return ""
    each = counts.round_began / (counts.round - 1)
    left = max(0, round(each * (rounds - counts.round + 1) - (counts.seconds - counts.round_began)))
    return f", {left // 60}:{left % 60:02} to go"


def _shortened(trace: str, folder: Path) -> str:
    """A traceback without frames outside a folder, except the last one."""
    lines: list[str] = []
    others: list[str] = []
    for frame in re.split(r"(?m)^(?=  File )", trace):
        found = _FRAME.match(frame)
        text = frame if found is None else frame[found.end() :]
        # Below its code, a frame may have marks; below the last frame is what was raised.
        raised = [line for line in text.splitlines() if line and not line.startswith(("    ", *_JOINTS))]
        if found is not None:
            file = Path(found["file"])
            inside = file.is_relative_to(folder) and "site-packages" not in file.parts
            place = file.relative_to(folder) if inside else file
            shown = [f"  {place}:{found['line']} in {found['name']}", f"    {found['code']}"]
            if inside:
                lines += shown
            others = [] if inside else shown
        lines += [*others, *raised] if raised else []
    return "\n".join(lines)
