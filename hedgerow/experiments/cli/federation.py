"""Commands of a federation's coordinator."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hedgerow.experiments.cli import terminal
from hedgerow.experiments.cli.options import JsonOption, OutOption, OverridesArgument, SourceArgument
from hedgerow.experiments.config.errors import CommandError

if TYPE_CHECKING:
    from hedgerow.coordinator.folder import FederationFolder

FederationOption = Annotated[
    Path, typer.Option("--federation", metavar="FOLDER", help="Of the federation, with its keys.")
]
NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Of the device, such as kitchen.", show_default=False)
]
FEDERATION = Path("federation")


def up(
    source: SourceArgument,
    overrides: OverridesArgument = None,
    out: OutOption = None,
    host: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_IP",
            help="Name or address at which devices reach this machine.",
            show_default="as before, or 127.0.0.1",
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Of the gateway.", show_default="as before, or 8470")
    ] = None,
    status_host: Annotated[
        str, typer.Option(metavar="IP", help="Address that the status page is served on.")
    ] = "127.0.0.1",
    status_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Of the status page.", show_default="as before, or a free one"),
    ] = None,
    lost_after: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=1.0,
            show_default="as before, or 20",
            help="Silence after which a device counts as gone; while training, it reports every 10 s.",
        ),
    ] = None,
    stay: Annotated[
        bool,
        typer.Option("--stay", help="Keep serving devices and page after the run, until stopped."),
    ] = False,
    graphs: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            show_default=False,
            help="What 'hedgerow export' wrote, for devices without torch.",
        ),
    ] = None,
    federation: FederationOption = FEDERATION,
    certificate: Annotated[
        Path | None,
        typer.Option(metavar="PEM", help="Shown to devices, with --key.", show_default="one of our own CA"),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Of the certificate.", show_default=False)
    ] = None,
) -> None:
    """Coordinate a federation: run a recipe on the devices that have joined, until it is done.

    Makes certificates at first use. Processes that die are restarted, and the run continues; after Ctrl-C or
    a reboot, the same command continues it. Only the gateway's port must be reachable.
    """
    from hedgerow.experiments.cli.coordinate import coordinate
    from hedgerow.experiments.config.device_recipe import one_experiment
    from hedgerow.experiments.config.expand import slug
    from hedgerow.experiments.config.recipe import load

    experiment = one_experiment(source, load(source, overrides or ()))
    run = (out or Path("runs") / slug(experiment.name)).absolute()

    def begun(page: str) -> None:
        settings = folder.settings
        terminal.tell(f"{experiment.name}: devices reach it at {settings.address}")
        if settings.host == "127.0.0.1":
            terminal.tell("only this machine can: --host NAME_OR_IP opens it to others")
        terminal.tell(f"status page: {page}")

    with mistakes():
        folder = _prepared(federation, certificate, key)
        folder.at(host, port=port, status_port=status_port, lost_after=lost_after)
        done = coordinate(experiment, run, folder, begun, status_host=status_host, stay=stay, graphs=graphs)
    if not done:
        terminal.complain("stopped; nothing saved is lost, and the same command continues")
        raise typer.Exit(130)
    terminal.write_report(run, [run])
    terminal.print_rows([run], json=False)


def invite(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="Of devices, such as kitchen.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where to write the kits.")] = Path(),
    federation: FederationOption = FEDERATION,
) -> None:
    """Write NAME.kit for each device, with which it can join once: hedgerow join NAME.kit."""
    from hedgerow.coordinator.members import invite_all

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


def revoke(name: NameArgument, federation: FederationOption = FEDERATION) -> None:
    """Remove a device at once, or an unused invitation."""
    from hedgerow.coordinator.events import note
    from hedgerow.coordinator.members import leave

    with mistakes():
        folder = opened(federation)
        leave(folder, name)
        note(folder, f"{name!r} was revoked")
        signed = bool(folder.settings.administrator)
    terminal.say(f"{name!r} can no longer take part")
    if signed:
        terminal.tell("the register still names it: sign a later version without it, and publish it")


def _prepared(federation: Path, certificate: Path | None, key: Path | None) -> "FederationFolder":
    """The federation's folder, with the certificate that was given."""
    from dataclasses import replace

    from hedgerow.coordinator.certificates import Certificate
    from hedgerow.coordinator.folder import FederationFolder

    if (certificate is None) != (key is None):
        raise CommandError("--certificate and --key belong together; give both, or neither")
    folder = FederationFolder.make(federation)
    if certificate is not None and key is not None:
        given = Certificate(certificate.absolute(), key.absolute())
        given.context()
        folder.write("certificate.json", {"certificate": str(given.certificate), "key": str(given.key)})
        folder.save(replace(folder.settings, own_ca=False))
    return folder


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
