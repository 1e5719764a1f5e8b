"""What the command line prints: results on stdout; progress and errors on stderr."""

import os
import sys
import traceback
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from hedgerow.experiments.cli.plugins import COMMANDS, plugin_command
from hedgerow.experiments.cli.streams import tolerate
from hedgerow.experiments.config.errors import CommandError, ConfigError, StoreError
from hedgerow.extras import remedy

if TYPE_CHECKING:
    from rich.table import Table

    from hedgerow.experiments.runs.profile import Profile, Times

_DEVICE = ("join", "leave", "predict", "enrol", "register", "policy")
"""Commands of a device's installation; the others need the server's."""


class Commands(TyperGroup):
    """The commands, with one exit code for each kind of error.

    0 is success, 1 a failure, 2 a mistake in a configuration or a command,
    130 Ctrl-C. A traceback is shown only on demand.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Hedgerow's commands that work with what is installed, and those of other packages."""
        names = super().list_commands(ctx)
        whole = find_spec("flwr") is not None  # pydantic alone may come with typer
        own = names if whole else [name for name in names if name in _DEVICE]
        return [*own, *(name for name in COMMANDS.names() if name not in names)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, if there is one."""
        found = super().get_command(ctx, cmd_name)
        return plugin_command(cmd_name) if found is None and cmd_name in COMMANDS.names() else found

    def main(self, *args: Any, **options: Any) -> Any:
        """The whole program, on a terminal of any encoding."""
        tolerate()
        return super().main(*args, **options)

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
    """An error for people: what happened, and what to do."""
    if isinstance(error, ModuleNotFoundError) and (what := remedy(error)):
        return what
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
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
    out().print(Text(text), soft_wrap=True)


def tell(text: str) -> None:
    """Print a line that is not part of the result."""
    err().print(Text(text), soft_wrap=True)


def complain(text: str) -> None:
    """Print an error."""
    err().print(Text(text, style="red"), soft_wrap=True)


def print_toml(text: str) -> None:
    """Print TOML, in colour on a terminal and unchanged elsewhere."""
    console = out()
    if console.is_terminal:
        from rich.syntax import Syntax

        console.print(Syntax(text, "toml", background_color="default", word_wrap=True))
    else:
        sys.stdout.write(text)


def print_rows(folders: Sequence[Path], json: bool) -> None:
    """Print the table that compares runs and its conclusion, or its figures as JSON."""
    from hedgerow.experiments.report import compare
    from hedgerow.experiments.report.headline import headline
    from hedgerow.experiments.report.table import table

    rows = compare.summarise(folders)
    if json:
        sys.stdout.write(compare.to_json(rows) + "\n")
    else:
        console = out()
        if not console.is_terminal and "COLUMNS" not in os.environ:
            console.width = 100
        console.print(table(rows, console.width))
        for text in headline(rows):
            console.print(Text(text))


def write_report(folder: Path, folders: Sequence[Path]) -> None:
    """Write the report and say where it is."""
    from hedgerow.experiments.report import page as report

    tell(f"report: {report.write_report(folder, folders)}")


def print_profile(profile: "Profile", file: Path, *, on_stderr: bool = False) -> None:
    """Print where the time went, and write the trace."""
    times = profile.times()
    if times is None:
        complain("no client was run: there is nothing to profile")
        return
    console = err() if on_stderr else out()
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
        err().print(Text(f"trace: {file}; open it on https://ui.perfetto.dev"), soft_wrap=True)


def profile_table(times: "Times") -> "Table":
    """Seconds and fractions by stage, of all processes together and of each kind."""
    from rich import box
    from rich.table import Table

    rounds, both = max(1, times.rounds), times.workers > 0
    whole = {stage: times.server.get(stage, 0.0) + times.clients.get(stage, 0.0) for stage in times.stages}
    columns = [whole, *([times.server, times.clients] if both else [])]
    table = Table("stage", box=box.SIMPLE_HEAD, pad_edge=False)
    headings = ["ms a round" if times.rounds else "ms", "of all", *(["server", "workers"] if both else [])]
    for name in headings:
        table.add_column(name, justify="right")
    sums = [sum(column.values()) for column in columns]
    for stage in times.stages:
        fractions = [column.get(stage, 0.0) / total for column, total in zip(columns, sums, strict=True)]
        table.add_row(stage, f"{whole[stage] * 1e3 / rounds:,.1f}", *(f"{part:.1%}" for part in fractions))
    table.add_section()
    table.add_row("all", f"{sums[0] * 1e3 / rounds:,.1f}", *(["100.0%"] * len(columns)))
    return table


def _exit_code(error: Exception) -> int:
    return 2 if isinstance(error, CommandError | ConfigError | StoreError) else 1


def out() -> Console:
    """The console of results."""
    return Console(highlight=False)


def err() -> Console:
    """The console of progress and errors."""
    return Console(stderr=True, highlight=False)
