"""What the command line prints: results on stdout; progress and errors on stderr."""

import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import click
import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from hedgerow.experiments.config.errors import CommandError, ConfigError

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.table import Table

    from hedgerow.experiments.config.expand import Sweep
    from hedgerow.experiments.config.schema import Experiment
    from hedgerow.experiments.runs.profile import Profile, Times
    from hedgerow.experiments.runs.sweep import Progress
    from hedgerow.types import RoundResult

SECONDS_BETWEEN_LINES = 10.0  # where there is no terminal, and rounds take long
_ROUNDS_OF_PACE = 20

# Which extra brings a module that may be missing.
_EXTRAS = {"torch": "torch", "matplotlib": "report", "plotly": "report", "pyarrow": "parquet"}


class Commands(TyperGroup):
    """The commands, with one way to end for every error.

    0 is success, 1 a failure, 2 a mistake in a configuration or a command,
    130 Ctrl-C. A traceback is shown only on demand.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except BrokenPipeError:  # the reader of a pipe, such as `head`, has left
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except Exception as error:
            if ctx.params.get("debug") or os.environ.get("HEDGEROW_DEBUG", "0") not in ("", "0"):
                traceback.print_exc()
            else:
                complain(describe(error))
            raise typer.Exit(_exit_code(error)) from None


def describe(error: Exception) -> str:
    """An error for a person: what happened, and what to do."""
    if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
        return (
            f'{error.name} is not installed; install it with: pip install "hedgerow[{_EXTRAS[error.name]}]"'
        )
    if isinstance(error, ValueError | OSError | ImportError):
        return str(error)
    return f"{type(error).__name__}: {error}\nThis is a bug in Hedgerow; HEDGEROW_DEBUG=1 shows where."


def print_version(wanted: bool) -> None:
    """Print Hedgerow's version and end."""
    if wanted:
        from hedgerow import __version__

        say(f"hedgerow {__version__}")
        raise typer.Exit


def say(text: str) -> None:
    """Print a line of the result."""
    _out().print(Text(text), soft_wrap=True)


def tell(text: str) -> None:
    """Print what is no part of the result."""
    _err().print(Text(text), soft_wrap=True)


def complain(text: str) -> None:
    """Print an error."""
    _err().print(Text(text, style="red"), soft_wrap=True)


def print_toml(text: str) -> None:
    """Print TOML, in colour on a terminal and unchanged elsewhere."""
    console = _out()
    if console.is_terminal:
        from rich.syntax import Syntax

        console.print(Syntax(text, "toml", background_color="default", word_wrap=True))
    else:
        sys.stdout.write(text)


def print_rows(folders: Sequence[Path], json: bool) -> None:
    """Print the table that compares runs and what it comes to, or its figures as JSON."""
    from hedgerow.experiments.headline import headline
    from hedgerow.experiments.report import compare
    from hedgerow.experiments.report.table import table

    rows = compare.summarise(folders)
    if json:
        sys.stdout.write(compare.to_json(rows) + "\n")
    else:
        console = _out()
        if not console.is_terminal and "COLUMNS" not in os.environ:
            console.width = 100
        console.print(table(rows, console.width))
        for text in headline(rows):
            console.print(Text(text))


def write_report(folder: Path, folders: Sequence[Path]) -> None:
    """Write the report and say where it is; without its extra, say what to install."""
    from hedgerow.experiments.report import page as report

    try:
        file = report.write_report(folder, folders)
    except ImportError as error:
        _err().print(Text(f"no report: {error}"), soft_wrap=True)
    else:
        _err().print(Text(f"report: {file}"), soft_wrap=True)


def print_profile(profile: "Profile", file: Path, *, on_stderr: bool = False) -> None:
    """Print where the time went, and write the trace."""
    times = profile.times()
    if times is None:
        complain("no client was run: there is nothing to profile")
        return
    console = _err() if on_stderr else _out()
    rounds = f"{times.rounds} round{'s' * (times.rounds > 1)} in " if times.rounds else ""
    workers = f"; workers: {times.workers}" if times.workers else ""
    console.print(Text(f"where the time went: {rounds}{times.seconds:.2f} s{workers}"), soft_wrap=True)
    console.print(profile_table(times))
    parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in times.starting.items())
    console.print(
        Text(f"before the first client: {sum(times.starting.values()):.2f} s ({parts})"), soft_wrap=True
    )
    try:
        profile.write_trace(file)
    except OSError as error:
        complain(f"the trace cannot be written: {error}")
    else:
        _err().print(Text(f"trace: {file}; open it on https://ui.perfetto.dev"), soft_wrap=True)


def profile_table(times: "Times") -> "Table":
    """Seconds and shares by stage, of all processes together and of each kind."""
    from rich import box
    from rich.table import Table

    rounds, both = max(1, times.rounds), times.workers > 0
    whole = {stage: times.server.get(stage, 0.0) + times.clients.get(stage, 0.0) for stage in times.stages}
    columns = [whole, *([times.server, times.clients] if both else [])]
    table = Table("stage", box=box.SIMPLE_HEAD, pad_edge=False)
    headings = ["ms a round" if times.rounds else "ms", "share", *(["server", "workers"] if both else [])]
    for name in headings:
        table.add_column(name, justify="right")
    sums = [sum(column.values()) for column in columns]
    for stage in times.stages:
        shares = [column.get(stage, 0.0) / total for column, total in zip(columns, sums, strict=True)]
        table.add_row(stage, f"{whole[stage] * 1e3 / rounds:,.1f}", *(f"{share:.1%}" for share in shares))
    table.add_section()
    table.add_row("all", f"{sums[0] * 1e3 / rounds:,.1f}", *(["100.0%"] * len(columns)))
    return table


@contextmanager
def run_progress(experiment: "Experiment", done: int) -> "Iterator[Callable[[RoundResult], None]]":
    """Show the rounds of one run as they end."""
    rounds, pace = experiment.rounds, Pace(experiment.rounds)
    with _bars() as bars:
        task = bars.add_task(experiment.name, total=rounds, completed=done, note="")
        every, measured, said = max(1, rounds // 10), "", time.monotonic()

        def on_round(result: "RoundResult") -> None:
            nonlocal measured, said
            if result.failed:
                complain(f"round {result.round} changed nothing: {result.failed}")
            if result.evaluation:
                values = sorted(result.evaluation.items())
                measured = "  " + ", ".join(f"{name} {value:.3f}" for name, value in values)
            speed = pace.after(result.round, len(result.cohort), result.seconds)
            bars.update(task, completed=result.round, note=speed + measured)
            late = time.monotonic() - said >= SECONDS_BETWEEN_LINES
            if not bars.console.is_terminal and (result.round % every == 0 or result.round == rounds or late):
                said = time.monotonic()
                _err().print(Text(f"round {result.round} of {rounds}  {speed}{measured}"), soft_wrap=True)

        yield on_round


@final
class Pace:
    """How fast the rounds of a run are, and how long it takes still, as the last ones went.

    >>> pace = Pace(rounds=400)
    >>> pace.after(100, clients=10, seconds=0.5)
    '20.0 clients/s, 2:30 to go'
    """

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self._last: deque[tuple[int, float]] = deque(maxlen=_ROUNDS_OF_PACE)

    def after(self, round: int, clients: int, seconds: float) -> str:
        """What to say after a round of so many clients and seconds."""
        self._last.append((clients, seconds))
        clients, seconds = sum(c for c, _ in self._last), sum(s for _, s in self._last)
        left = round_to_seconds(seconds / len(self._last) * (self._rounds - round))
        return f"{clients / max(seconds, 1e-9):.1f} clients/s" + (f", {left} to go" if left else "")


def round_to_seconds(seconds: float) -> str:
    """`m:ss` or `h:mm:ss`; empty where less than half a second is left.

    >>> round_to_seconds(3725.2), round_to_seconds(0.2)
    ('1:02:05', '')
    """
    whole = round(seconds)
    minutes, hours = whole // 60 % 60, whole // 3600
    if not whole:
        return ""
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


@contextmanager
def sweep_progress(sweep: "Sweep") -> "Iterator[Callable[[Progress], Progress]]":
    """Show the experiments of a sweep: all together, and each that is running."""
    rounds = {cell.folder: cell.experiment.rounds for cell in sweep.cells}
    done = dict.fromkeys(rounds, 0)
    ended: list[str] = []
    with _bars(left=True) as bars:
        whole = bars.add_task(sweep.name, total=sum(rounds.values()), note=f"0 of {len(rounds)} experiments")
        tasks: dict[str, Any] = {}

        def on_progress(progress: "Progress") -> "Progress":
            name = progress.folder
            if progress.kind == "started":
                tasks[name] = bars.add_task(f"  {name}", total=rounds[name], note="")
            done[name] = rounds[name] if progress.kind in ("finished", "failed") else progress.round
            if name in tasks:
                bars.update(tasks[name], completed=done[name])
            if progress.kind in ("finished", "failed"):
                ended.append(name)
                bars.console.print(Text(f"{progress.kind}  {name}"), soft_wrap=True)
                if name in tasks:
                    bars.remove_task(tasks[name])
            bars.update(
                whole, completed=sum(done.values()), note=f"{len(ended)} of {len(rounds)} experiments"
            )
            return progress

        yield on_progress


def _bars(*, left: bool = False) -> "Bars":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    console = _err()
    name = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=name),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        *([TimeRemainingColumn()] if left else []),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        expand=True,
        transient=True,
        disable=not console.is_terminal,
    )


def _exit_code(error: Exception) -> int:
    from hedgerow.experiments.runs.store import StoreError

    return 2 if isinstance(error, CommandError | ConfigError | StoreError) else 1


def _out() -> Console:
    return Console(highlight=False)


def _err() -> Console:
    return Console(stderr=True, highlight=False)
