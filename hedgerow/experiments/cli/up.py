"""`hedgerow up`: coordinate a federation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hedgerow.experiments.cli import terminal
from hedgerow.experiments.cli.federation import FEDERATION, FederationOption, mistakes
from hedgerow.experiments.cli.options import OutOption, OverridesArgument, SourceArgument
from hedgerow.experiments.cli.phones import (
    DAY,
    Asked,
    HoursOption,
    Opened,
    OriginsOption,
    PhonesOption,
    check_asked,
    opened_for_phones,
    show_code,
)
from hedgerow.experiments.config.errors import CommandError

if TYPE_CHECKING:
    from hedgerow.coordinator.folder import FederationFolder


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
    phones: PhonesOption = None,
    phones_hours: HoursOption = DAY,
    phones_origin: OriginsOption = None,
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
    from hedgerow.experiments.config.names import slug
    from hedgerow.experiments.config.recipe import load

    experiment = one_experiment(source, load(source, overrides or ()))
    run = (out or Path("runs") / slug(experiment.name)).absolute()
    asked = Asked(phones, phones_hours, phones_origin, graphs is not None)
    check_asked(asked, experiment, run)
    opened = Opened()

    def ready() -> str:
        nonlocal opened
        opened = opened_for_phones(folder, experiment, run, asked)
        return opened.address

    def begun(page: str) -> None:
        settings = folder.settings
        terminal.tell(f"{experiment.name}: devices reach it at {settings.address}")
        if settings.host == "127.0.0.1":
            terminal.tell("only this machine can: --host NAME_OR_IP opens it to others")
        terminal.tell(f"status page: {page}")
        for line in opened.lines:
            terminal.tell(line)
        if opened.address:
            show_code(opened.address)
            terminal.tell(opened.address)

    with mistakes():
        folder = _prepared(federation, certificate, key, host)
        folder.at(host, port=port, status_port=status_port, lost_after=lost_after)
        done = coordinate(
            experiment, run, folder, begun, ready=ready, status_host=status_host, stay=stay, graphs=graphs
        )
    if not done:
        terminal.complain("stopped; nothing saved is lost, and the same command continues")
        raise typer.Exit(130)
    terminal.write_report(run, [run])
    terminal.print_rows([run], json=False)


def _prepared(
    federation: Path, certificate: Path | None, key: Path | None, host: str | None
) -> "FederationFolder":
    """The federation's folder, with the certificate that was given."""
    from dataclasses import replace

    from hedgerow.coordinator.certificates import Certificate, check_given
    from hedgerow.coordinator.folder import FederationFolder

    if (certificate is None) != (key is None):
        raise CommandError("--certificate and --key belong together; give both, or neither")
    folder = FederationFolder.make(federation)
    if certificate is not None and key is not None:
        given = Certificate(certificate.absolute(), key.absolute())
        check_given(given, host or folder.settings.host)
        folder.write("certificate.json", {"certificate": str(given.certificate), "key": str(given.key)})
        folder.save(replace(folder.settings, own_ca=False))
    return folder
