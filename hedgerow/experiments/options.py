"""Options that several commands have, and what they mean together."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

if TYPE_CHECKING:
    from hedgerow.experiments.profile import Profile

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
    from hedgerow.experiments.profile import profile

    with profile() as found:
        yield found
