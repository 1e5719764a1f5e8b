"""Commands of the administrator, who decides which devices exist, with a key that no coordinator has."""

from pathlib import Path
from typing import Annotated

import typer

from hedgerow.experiments.cli import terminal
from hedgerow.experiments.cli.devices import RegisterArgument
from hedgerow.experiments.cli.federation import FEDERATION, FederationOption
from hedgerow.experiments.config.errors import CommandError

KeyOption = Annotated[
    Path,
    typer.Option("--key", metavar="FILE", help="The administrator's secret key; created if missing."),
]

_OTHERWISE = "sign with another key, which devices then take with new kits"


def sign(
    file: RegisterArgument,
    key: KeyOption = Path("administrator.key"),
    appointed_by: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="The key that has signed so far; it hands over to --key for good.",
        ),
    ] = None,
) -> None:
    """Sign a register as its next version, on a machine that is not the coordinator.

    First compare each line with what the device itself shows (hedgerow enrol).
    """
    from hedgerow.client.secure import enrolment
    from hedgerow.client.secure.signed_register import appoint, read_signature, sign_next
    from hedgerow.files import write_whole
    from hedgerow.secure.errors import Malformed

    try:
        made = not key.exists()
        text, secret = file.read_text(encoding="utf-8"), enrolment.secret_key(key, _OTHERWISE)
        if appointed_by is not None:
            if not appointed_by.exists():
                raise CommandError(f"{appointed_by} does not exist; it must be the key that signed so far")
            text = appoint(text, enrolment.secret_key(appointed_by, _OTHERWISE), secret)
        whole = sign_next(text, secret)
        write_whole(file, whole.encode())
    except (Malformed, OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} is not signed: {error}") from error
    found = read_signature(whole)
    terminal.say(f"{file}: version {found.version}, signed by {found.administrator}")
    if made:
        terminal.tell(f"created {key}: keep it off the coordinator, and keep a copy of it")
    terminal.tell(f"take it to the coordinator, and run there: hedgerow register publish {file}")


def publish(file: RegisterArgument, federation: FederationOption = FEDERATION) -> None:
    """Have the coordinator serve a signed register; every later one must be from the same administrator."""
    from hedgerow.coordinator.folder import FederationError, FederationFolder
    from hedgerow.coordinator.register import publish as published

    try:
        found = published(FederationFolder.open(federation), file.read_text(encoding="utf-8"))
    except (FederationError, OSError, UnicodeDecodeError) as error:
        raise CommandError(str(error)) from error
    terminal.say(f"devices now get version {found.version}, signed by {found.administrator}")
