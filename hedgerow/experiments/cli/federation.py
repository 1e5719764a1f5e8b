"""The commands of a federation's coordinator."""

import signal
import threading
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
    from hedgerow.coordinator.supervisor import Job
    from hedgerow.experiments.config.schema import Experiment

FederationOption = Annotated[
    Path, typer.Option("--federation", metavar="FOLDER", help="Of the federation; its keys lie there.")
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
            help="That devices reach this machine at.",
            show_default="as before, or 127.0.0.1",
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Of the gateway.", show_default="as before, or 8470")
    ] = None,
    status_host: Annotated[
        str, typer.Option(metavar="IP", help="That the status page is served on.")
    ] = "127.0.0.1",
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

    Makes certificates at first use. Whatever dies is started again, and the run goes on; so does the same
    command, after Ctrl-C or a reboot. Only the gateway's port need be reachable.
    """
    from hedgerow.coordinator.supervisor import RunFailed, Supervisor
    from hedgerow.experiments.config.device_recipe import one_experiment
    from hedgerow.experiments.config.expand import slug
    from hedgerow.experiments.config.recipe import load
    from hedgerow.locks import hold

    experiment = one_experiment(source, load(source, overrides or ()))
    run = (out or Path("runs") / slug(experiment.name)).absolute()
    with _mistakes():
        folder = _prepared(federation, host, port, certificate, key)
        with hold(folder.path, keep=True), _stopped() as stop:
            supervisor = Supervisor(folder, terminal.tell)
            supervisor.clear()
            job = _job(experiment, run, folder)
            try:
                page = supervisor.start(status_host)
                settings = folder.settings
                terminal.tell(f"{experiment.name}: devices reach it at {settings.address}")
                if settings.host == "127.0.0.1":
                    terminal.tell("only this machine can: --host NAME_OR_IP opens it to others")
                terminal.tell(f"status page: {page}")
                done = supervisor.carry_out(job, stop)
            except RunFailed as error:
                terminal.complain(f"the run failed: {error}")
                raise typer.Exit(1) from None
            finally:
                supervisor.end()
    if not done:
        terminal.complain("stopped; nothing saved is lost, and the same command goes on")
        raise typer.Exit(130)
    terminal.write_report(run, [run])
    terminal.print_rows([run], json=False)


def invite(
    name: NameArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where to write the kit.")] = Path(),
    federation: FederationOption = FEDERATION,
) -> None:
    """Write NAME.kit, with which one device can join, once: hedgerow join NAME.kit."""
    from hedgerow.coordinator.members import invite as invited

    with _mistakes():
        folder = _opened(federation)
        terminal.say(str(invited(folder, name, out)))
    terminal.tell(
        "take it to the device, by a way that nobody else reads, and run there:"
        f" hedgerow join {name}.kit --data FILE"
    )


def devices(federation: FederationOption = FEDERATION, json: JsonOption = False) -> None:
    """List the devices: who has joined, who is there, who is invited."""
    from hedgerow.coordinator.status import device_rows

    with _mistakes():
        rows = device_rows(_opened(federation))
    if json:
        from json import dumps

        terminal.say(dumps(rows, indent=1, ensure_ascii=False))
        return
    for row in rows:
        terminal.say(f"{row['name']:<24} {row['state']:<10} {row['identity'][:16]}")


def status(federation: FederationOption = FEDERATION, json: JsonOption = False) -> None:
    """Say what runs, who is there, how far the run is, and who is trusted with what."""
    from hedgerow.coordinator.status import status_of, told

    with _mistakes():
        found = status_of(_opened(federation))
    if json:
        from json import dumps

        terminal.say(dumps(found, indent=1, ensure_ascii=False))
        return
    for line in told(found):
        terminal.say(line)


def logs(
    process: Annotated[
        str, typer.Argument(metavar="[superlink|gateway|page]", help="Of which.")
    ] = "superlink",
    lines: Annotated[int, typer.Option(min=1, help="How many of the last lines.")] = 50,
    federation: FederationOption = FEDERATION,
) -> None:
    """Show the end of what a process has said; the run's own messages are in that of the SuperLink."""
    with _mistakes():
        folder = _opened(federation)
    file = folder.logs / f"{process}.log"
    if process not in ("superlink", "gateway", "page") or not file.is_file():
        there = ", ".join(sorted(each.stem for each in folder.logs.glob("*.log"))) or "none yet"
        raise CommandError(f"there is no log of {process!r} in {folder.logs}; there are: {there}")
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]:
        terminal.say(line)


def stop(federation: FederationOption = FEDERATION) -> None:
    """End a federation that runs; the same 'hedgerow up' goes on with it."""
    from hedgerow.coordinator.supervisor import stop as stopped

    with _mistakes():
        terminal.say(f"ended: {', '.join(stopped(_opened(federation)))}")


def revoke(name: NameArgument, federation: FederationOption = FEDERATION) -> None:
    """Take a device out, at once, or an invitation that was not used."""
    from hedgerow.coordinator.members import leave

    with _mistakes():
        folder = _opened(federation)
        leave(folder, name)
        signed = bool(folder.settings.administrator)
    terminal.say(f"{name!r} can take no further part")
    if signed:
        terminal.tell("the register still names it: sign a later version without it, and publish that")


def _prepared(
    federation: Path, host: str | None, port: int | None, certificate: Path | None, key: Path | None
) -> "FederationFolder":
    """The federation's folder, with address and certificate as they were given."""
    from dataclasses import replace

    from hedgerow.coordinator.certificates import Certificate
    from hedgerow.coordinator.folder import FederationFolder

    if (certificate is None) != (key is None):
        raise CommandError("--certificate and --key belong together; give both, or neither")
    folder = FederationFolder.make(federation)
    settings = folder.at(host, port)
    if certificate is not None and key is not None:
        given = Certificate(certificate.absolute(), key.absolute())
        given.context()
        folder.write("certificate.json", {"certificate": str(given.certificate), "key": str(given.key)})
        folder.save(replace(settings, own_ca=False))
    return folder


def _job(experiment: "Experiment", run: Path, folder: "FederationFolder") -> "Job":
    from hedgerow.coordinator.supervisor import Job
    from hedgerow.experiments.cli.round_lines import RoundLines
    from hedgerow.experiments.config.schema import to_toml
    from hedgerow.experiments.runs import coordinated
    from hedgerow.experiments.runs.run import clients_meant
    from hedgerow.experiments.runs.store import RunFolder
    from hedgerow.locks import hold

    coordinated.check_describable(experiment)
    with hold(run, keep=True):
        there = RunFolder.create(run, to_toml(experiment), extend=True)
    wanted = clients_meant(experiment)
    config = {"run": str(run), "federation": str(folder.path)}
    folder.write("job.json", {**config, "wanted": wanted, "rounds": experiment.rounds})
    return Job(
        run, coordinated.SERVER_APP, coordinated.CLIENT_APP, config, wanted,
        done=lambda: len(there.rounds()), finished=lambda: there.finished, report=RoundLines(there),
    )  # fmt: skip


def _opened(federation: Path) -> "FederationFolder":
    from hedgerow.coordinator.folder import FederationFolder

    return FederationFolder.open(federation)


@contextmanager
def _stopped() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set."""
    stop, before = threading.Event(), {}
    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, lambda *_: stop.set())
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _mistakes() -> Iterator[None]:
    """What is wrong with a federation, as the command's error."""
    from hedgerow.coordinator.folder import FederationError

    try:
        yield
    except (FederationError, OSError) as error:
        raise CommandError(str(error)) from error
