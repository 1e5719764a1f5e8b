"""Commands of a federation's coordinator."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hedgerow.experiments.cli import terminal
from hedgerow.experiments.cli.options import JsonOption
from hedgerow.experiments.cli.phones import DAY, HoursOption, PhonesOption, invite_more
from hedgerow.experiments.config.errors import CommandError

if TYPE_CHECKING:
    from hedgerow.coordinator.folder import FederationFolder

FederationOption = Annotated[
    Path, typer.Option("--federation", metavar="FOLDER", help="Of the federation, with its keys.")
]
FEDERATION = Path("federation")


def invite(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME...]", help="Of devices, such as kitchen.", show_default=False),
    ] = None,
    phones: PhonesOption = None,
    phones_hours: HoursOption = DAY,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where to write the kits.")] = Path(),
    federation: FederationOption = FEDERATION,
) -> None:
    """Write NAME.kit for each device, with which it can join once: hedgerow join NAME.kit.

    Or, with --phones, show a code by which N more phones can join, in place of an earlier one.
    """
    from hedgerow.coordinator.members import invite_all

    if (phones is None) != bool(names):
        raise CommandError("give the names of devices, or --phones N, and not both")
    if phones is not None:
        with mistakes():
            invite_more(opened(federation), phones, phones_hours)
        return
    assert names
    with mistakes():
        kits = invite_all(opened(federation), names, out)
    for kit in kits:
        terminal.say(str(kit))
    terminal.tell(
        f"take {'it to the device' if len(kits) == 1 else 'each to its device'}, by a way that nobody can"
        f" read, and run there: hedgerow join {kits[0].name if len(kits) == 1 else 'NAME.kit'} --data FILE"
    )


def devices(
    readmit: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Let a device set aside take part again.", show_default=False),
    ] = None,
    federation: FederationOption = FEDERATION,
    json: JsonOption = False,
) -> None:
    """List the devices: joined, online, invited or set aside."""
    from hedgerow.coordinator.readmission import readmit as readmitted
    from hedgerow.coordinator.status import device_rows

    with mistakes():
        folder = opened(federation)
        if readmit is not None:
            readmitted(folder, readmit)
            terminal.tell(f"{readmit!r} takes part again from the next round on")
        rows = device_rows(folder)
    if json:
        from json import dumps

        terminal.say(dumps(rows, indent=1, ensure_ascii=False))
        return
    for row in rows:
        aside = "  set aside" if row["set_aside"] else ""
        terminal.say(f"{row['name']:<24} {row['state']:<10} {row['identity'][:16]}{aside}")


def status(
    federation: FederationOption = FEDERATION,
    json: JsonOption = False,
    healthy: Annotated[
        bool, typer.Option("--healthy", help="Exit with 1 unless all processes run; for a health check.")
    ] = False,
) -> None:
    """Show the processes, the devices online, the run's progress, and how identities are trusted."""
    from hedgerow.coordinator.status import status_of, told
    from hedgerow.coordinator.watch import KEPT

    with mistakes():
        found = status_of(opened(federation))
    if json:
        from json import dumps

        terminal.say(dumps(found, indent=1, ensure_ascii=False))
    for line in [] if json else told(found):
        terminal.say(line)
    if healthy and not set(KEPT) <= set(found["processes"]):
        raise typer.Exit(1)


def logs(
    process: Annotated[
        str, typer.Argument(metavar="[superlink|gateway|page|up]", help="Which process; up has the events.")
    ] = "superlink",
    lines: Annotated[int, typer.Option(min=1, help="How many of the last lines.")] = 50,
    federation: FederationOption = FEDERATION,
) -> None:
    """Show the end of a process's log; the run's own messages are in the SuperLink's."""
    with mistakes():
        folder = opened(federation)
    file = folder.logs / f"{process}.log"
    if process not in ("superlink", "gateway", "page", "up") or not file.is_file():
        there = ", ".join(sorted(each.stem for each in folder.logs.glob("*.log"))) or "none yet"
        raise CommandError(f"there is no log of {process!r} in {folder.logs}; there are: {there}")
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]:
        terminal.say(line)


def stop(federation: FederationOption = FEDERATION) -> None:
    """Stop a running federation; the same 'hedgerow up' continues it."""
    from hedgerow.coordinator.processes import stop as stopped

    with mistakes():
        terminal.say(f"ended: {', '.join(stopped(opened(federation)))}")


def revoke(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Of the device, such as kitchen.", show_default=False),
    ] = None,
    phones: Annotated[
        bool, typer.Option("--phones", help="End the invitation of phones; those that joined stay.")
    ] = False,
    federation: FederationOption = FEDERATION,
) -> None:
    """Remove a device at once, or an unused invitation."""
    from hedgerow.coordinator.events import note
    from hedgerow.coordinator.members import leave, load_members

    if phones == (name is not None):
        raise CommandError("give the name of a device, or --phones, and not both")
    if name is None:
        _end_invitation(federation)
        return
    with mistakes():
        folder = opened(federation)
        leave(folder, name)
        note(folder, f"{name!r} was revoked")
        signed, places = bool(folder.settings.administrator), load_members(folder).places
    terminal.say(f"{name!r} can no longer take part")
    if places:
        terminal.tell(f"the code for phones still lets {places} in, also this one: hedgerow revoke --phones")
    if signed:
        terminal.tell("the register still names it: sign a later version without it, and publish it")


def _end_invitation(federation: Path) -> None:
    from hedgerow.coordinator.events import note
    from hedgerow.coordinator.phones import end_invitation

    with mistakes():
        folder = opened(federation)
        end_invitation(folder)
        note(folder, "the invitation of phones was revoked")
    terminal.say("no further phone can join; those that have joined stay")


def opened(federation: Path) -> "FederationFolder":
    """The folder of an existing federation."""
    from hedgerow.coordinator.folder import FederationFolder

    return FederationFolder.open(federation)


@contextmanager
def mistakes() -> Iterator[None]:
    """Report a federation's errors as the command's."""
    from hedgerow.coordinator.folder import FederationError

    try:
        yield
    except (FederationError, OSError) as error:
        raise CommandError(str(error)) from error
