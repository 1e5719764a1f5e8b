"""The command that runs a Flower app. It imports heavy modules inside, so that `--help` is quick."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hedgerow.experiments.cli import terminal
from hedgerow.experiments.cli.options import (
    ClientTimeoutOption,
    MemoryLimitOption,
    WorkersOption,
    bytes_of,
)

if TYPE_CHECKING:
    pass


class Engine(StrEnum):
    """The engine on which `simulate` runs a Flower app."""

    hedgerow = "hedgerow"
    flower = "flower"


def simulate(
    folder: Annotated[
        Path, typer.Argument(metavar="PATH", help="A Flower app: the folder with its pyproject.toml.")
    ],
    clients: Annotated[
        int | None,
        typer.Option(min=1, help="Number of clients.", show_default="the app's federation options"),
    ] = None,
    workers: WorkersOption = None,
    run_config: Annotated[
        list[str] | None,
        typer.Option(
            "--run-config",
            "-c",
            metavar="'KEY=VALUE ...'",
            help="Change the app's run config, as for 'flwr run'.",
        ),
    ] = None,
    client_timeout: ClientTimeoutOption = None,
    memory_limit: MemoryLimitOption = None,
    profile: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Show where the time went; write a trace for Perfetto to a file."),
    ] = None,
    engine: Annotated[
        Engine, typer.Option(help="Hedgerow's, or Flower's own simulation on Ray, to compare.")
    ] = Engine.hedgerow,
) -> None:
    """Run any Flower app, unchanged, on this machine: no Ray, no SuperLink.

    The exit code is 1 if the app fails, or if no client answers.
    """
    from hedgerow.experiments.runs.processes import run_module

    options = {
        "folder": str(folder),
        "run_config": run_config or [],
        "clients": clients,
        "workers": workers,
        "client_timeout": client_timeout,
        "memory_limit": bytes_of(memory_limit),
        "trace": profile and str(profile),
        "engine": engine.value,
    }
    code = run_module("hedgerow.experiments.flower_app.simulate", options)
    if code < 0:
        terminal.complain(f"its process was ended by signal {-code}")
        code = 1
    if code:
        raise typer.Exit(code)
