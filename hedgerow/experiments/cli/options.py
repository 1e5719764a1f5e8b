"""Options that several commands have, and what they mean together."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

if TYPE_CHECKING:
    from hedgerow.experiments.runs.profile import Profile


class Place(StrEnum):
    """Where `run` has its clients."""

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
PlaceOption = Annotated[
    Place, typer.Option("--engine", help="Where clients run: this machine, or a Ray cluster.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="auto|HOST:PORT|ray://HOST:PORT",
        help="Of the Ray cluster.",
        show_default="a Ray of its own, here",
    ),
]
MasksOption = Annotated[
    bool,
    typer.Option("--masks", help="Simulate secure aggregation as a whole, and not only what it adds up."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, help="Processes, one thread each.", show_default="number of cores")
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
        help="Drop a client that needs so much more memory than its process starts with.",
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
        help="Keep who counted in each round, and with what, for 'hedgerow replay'; as [run] record.",
    ),
]


class Limits(NamedTuple):
    """What the clients of a run may take; `None` for no limit, and for as many workers as cores."""

    workers: int | None
    client_timeout: float | None
    memory_limit_mb: int | None

    @property
    def memory_limit(self) -> int | None:
        """In bytes."""
        return None if self.memory_limit_mb is None else self.memory_limit_mb * 10**6


@contextmanager
def profiled(wanted: bool) -> "Iterator[Profile | None]":
    """Record where the time goes, if that is wanted."""
    if not wanted:
        yield None
        return
    from hedgerow.experiments.runs.profile import profile

    with profile() as found:
        yield found
