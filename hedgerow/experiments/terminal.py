"""What the command line prints: results on stdout; progress and errors on stderr."""

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from hedgerow.experiments.errors import CommandError, ConfigError

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from hedgerow.experiments.config import Experiment
    from hedgerow.experiments.grid import Sweep
    from hedgerow.experiments.sweep import Progress
    from hedgerow.types import RoundResult

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
    """Print the table that compares runs, or the same as JSON."""
    from hedgerow.experiments import compare

    rows = compare.summarise(folders)
    if json:
        sys.stdout.write(compare.to_json(rows) + "\n")
    else:
        console = _out()
        if not console.is_terminal and "COLUMNS" not in os.environ:
            console.width = 100
        console.print(compare.table(rows))


def write_report(folder: Path, folders: Sequence[Path]) -> None:
    """Write the report and say where it is; without its extra, say what to install."""
    from hedgerow.experiments import report

    try:
        file = report.write_report(folder, folders)
    except ImportError as error:
        _err().print(Text(f"no report: {error}"), soft_wrap=True)
    else:
        _err().print(Text(f"report: {file}"), soft_wrap=True)


@contextmanager
def run_progress(experiment: "Experiment", done: int) -> "Iterator[Callable[[RoundResult], None]]":
    """Show the rounds of one run as they end."""
    with _bars() as bars:
        task = bars.add_task(experiment.name, total=experiment.rounds, completed=done, note="")
        every = max(1, experiment.rounds // 10)

        def on_round(result: "RoundResult") -> None:
            note = ", ".join(f"{name} {value:.3f}" for name, value in sorted(result.evaluation.items()))
            if result.failed:
                complain(f"round {result.round} changed nothing: {result.failed}")
            bars.update(task, completed=result.round)
            if note:
                bars.update(task, note=note)
            if not bars.console.is_terminal and (
                result.round % every == 0 or result.round == experiment.rounds
            ):
                _err().print(Text(f"round {result.round} of {experiment.rounds}  {note}"), soft_wrap=True)

        yield on_round


@contextmanager
def sweep_progress(sweep: "Sweep") -> "Iterator[Callable[[Progress], Progress]]":
    """Show the experiments of a sweep: all together, and each that is running."""
    rounds = {cell.folder: cell.experiment.rounds for cell in sweep.cells}
    done = dict.fromkeys(rounds, 0)
    ended: list[str] = []
    with _bars() as bars:
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


def _bars() -> "Bars":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    console = _err()
    name = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=name),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        expand=True,
        transient=True,
        disable=not console.is_terminal,
    )


def _exit_code(error: Exception) -> int:
    from hedgerow.experiments.store import StoreError

    return 2 if isinstance(error, CommandError | ConfigError | StoreError) else 1


def _out() -> Console:
    return Console(highlight=False)


def _err() -> Console:
    return Console(stderr=True, highlight=False)
