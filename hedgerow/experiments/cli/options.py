"""Options shared by several commands, and how they combine."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hedgerow.experiments.config.errors import CommandError

if TYPE_CHECKING:
    from hedgerow.experiments.runs.profile import Profile
    from hedgerow.types import RunOptions


class RunEngine(StrEnum):
    """Where `run` runs its clients."""

    local = "local"
    ray = "ray"


SourceArgument = Annotated[
    str,
    typer.Argument(metavar="RECIPE_OR_FILE", help="A recipe's name (see 'hedgerow list'), or a TOML file."),
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="Change keys of the file, such as rounds=5 model.name=logistic."
    ),
]
ExtendArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Other rounds or evaluations, such as rounds=80."),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FOLDER", help="Where to write.", show_default="runs/<name>")
]
EngineOption = Annotated[
    RunEngine, typer.Option("--engine", help="Where clients run: this machine, or a Ray cluster.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="auto|HOST:PORT|ray://HOST:PORT",
        help="Of the Ray cluster.",
        show_default="a new Ray on this machine",
    ),
]
MasksOption = Annotated[
    bool,
    typer.Option("--masks", help="Simulate the whole secure aggregation, not only its sum."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Processes, one thread each.",
        show_default="[run] workers, or cores; 1 on a GPU",
    ),
]

JobsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Of a sweep: experiments that run side by side, one process and one thread each.",
        show_default="[run] workers, or cores",
    ),
]


def _in_run(metavar: str, help: str, default: str) -> Any:
    """An option that is also a key of `[run]`."""
    return typer.Option(metavar=metavar, help=help, show_default=f"[run] of the file, or {default}")


TrainerOption = Annotated[
    str | None,
    _in_run("NAME", "How clients are trained: loop, batch or auto (see 'hedgerow list trainers').", "loop"),
]
DeviceOption = Annotated[str | None, _in_run("cpu|cuda|cuda:N|mps", "Where torch computes.", "cpu")]
PrecisionOption = Annotated[
    str | None,
    _in_run("float32|bfloat16|float16", "Of forward and backward passes; weights are float32.", "float32"),
]
ClientTimeoutOption = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Drop a client that takes longer.", show_default="no limit"),
]
MemoryLimitOption = Annotated[
    int | None,
    typer.Option(
        metavar="MB",
        min=1,
        help="Drop a client that allocates more than this above what its process starts with.",
        show_default="no limit",
    ),
]
ProfileOption = Annotated[
    bool, typer.Option("--profile", help="Show where the time went; write FOLDER/trace.json for Perfetto.")
]


RecordOption = Annotated[
    bool,
    typer.Option(
        "--record",
        help="Keep the replies that counted in each round, for 'hedgerow replay'; as [run] record.",
    ),
]


def bytes_of(megabytes: int | None) -> int | None:
    """A limit in bytes; `None` for no limit."""
    return None if megabytes is None else megabytes * 10**6


def run_options(
    workers: int | None,
    client_timeout: float | None,
    memory_limit: int | None,
    engine: RunEngine,
    address: str | None,
    masks: bool,
) -> "RunOptions":
    """Combine the options of a command; `workers` of `None` is still undecided.

    Raises:
        CommandError: they contradict each other.
    """
    from hedgerow.types import Deployment, RunOptions

    if address is not None and engine is not RunEngine.ray:
        raise CommandError(f"--address {address} is for a Ray cluster; add --engine ray")
    return RunOptions(
        deployment=Deployment.MASKED if masks else None,
        workers=workers,
        engine=engine.value,
        address=address,
        client_timeout=client_timeout,
        memory_limit=bytes_of(memory_limit),
    )


def in_run(trainer: str | None, device: str | None, precision: str | None) -> list[str]:
    """Options that are keys of `[run]`, as overrides, which a run stores in its folder.

    >>> in_run("batch", None, None)
    ['run.trainer=batch']
    """
    given = {"trainer": trainer, "device": device, "precision": precision}
    return [f"run.{key}={value}" for key, value in given.items() if value is not None]


@contextmanager
def profiled(wanted: bool) -> "Iterator[Profile | None]":
    """Record where the time goes, if wanted."""
    if not wanted:
        yield None
        return
    from hedgerow.experiments.runs.profile import profile

    with profile() as found:
        yield found
