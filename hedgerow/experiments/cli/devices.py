"""Commands that enrol devices for secure aggregation. They need neither torch nor Flower."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from hedgerow.experiments.cli import terminal
from hedgerow.experiments.cli.options import JsonOption
from hedgerow.experiments.config.errors import CommandError

register = typer.Typer(
    no_args_is_help=True, help="Manage the register of all devices' keys, of which each device gets a copy."
)

RegisterArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The register, such as register.toml.", show_default=False)
]


def enrol(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The client's name in the federation.", show_default=False)
    ],
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Folder of the key, on the device itself; created if missing.",
            show_default=False,
        ),
    ],
) -> None:
    """Create a device's identity for secure aggregation, and print its line for the register.

    The secret key, FOLDER/identity.key, is readable only by its owner, never overwritten and never sent.
    Run it again to see the line again, and to check FOLDER/register.toml against it.
    """
    from hedgerow.client.secure import enrolment, register_file
    from hedgerow.secure.errors import Malformed

    try:
        register_file.register_line(name, bytes(32))
        made = not (folder / enrolment.KEY).exists()
        line = register_file.register_line(name, bytes.fromhex(enrolment.enrol(folder)))
        pinned = register_file.load_register(folder / enrolment.REGISTER)
    except (Malformed, ValueError, OSError) as error:
        raise CommandError(str(error)) from error
    terminal.say(line)
    if not pinned:
        did = "made" if made else "found"
        terminal.tell(
            f"{did} {folder / enrolment.KEY}, which stays here. Where the register is kept, run:\n"
            f"  hedgerow register add register.toml {shlex.quote(line)}\n"
            f"then copy register.toml to {folder}, and run this again to check it"
        )
        return
    _, key = register_file.read_line(line)
    if pinned.get(name) != key:
        stands = f"has another key for {name!r}" if name in pinned else f"has no client {name!r}"
        raise CommandError(
            f"{folder / enrolment.REGISTER} {stands}; add the line above where the register is kept, and copy"
            " it to all devices again"
        )
    terminal.tell(f"{name!r} is one of {_summary(pinned)}")


@register.command("add")
def add(
    file: RegisterArgument,
    lines: Annotated[
        list[str],
        typer.Argument(
            metavar="LINE...",
            help="As printed by 'hedgerow enrol'; - reads lines from stdin.",
            show_default=False,
        ),
    ],
) -> None:
    """Add devices by the lines that 'hedgerow enrol' printed on them; either all or none are added."""
    from hedgerow.client.secure import register_file
    from hedgerow.secure.errors import Malformed

    given: list[str] = []
    for text in lines:
        given += (line for line in sys.stdin.read().splitlines() if line.strip()) if text == "-" else [text]
    try:
        new, known = register_file.add(file, given)
    except (Malformed, ValueError, OSError) as error:
        raise CommandError(str(error)) from error
    added = f"added {', '.join(map(repr, new))}" if new else "nothing is new"
    terminal.say(f"{added}; {file} has {_summary(known)}")


@register.command("list")
def list_(file: RegisterArgument, json: JsonOption = False) -> None:
    """List the devices and their public keys, and the fingerprint that all copies must share."""
    known = _existing(file)
    if json:
        from json import dumps

        terminal.say(dumps({name: key.hex() for name, key in known.items()}, indent=1, ensure_ascii=False))
        return
    width = max((len(name) for name in known), default=0)
    for name, key in known.items():
        terminal.say(f"{name:<{width}}  {key.hex()}")
    terminal.say(_summary(known))


@register.command("remove")
def remove(
    file: RegisterArgument,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Of clients.", show_default=False)],
) -> None:
    """Remove devices that were lost, stolen or set up again."""
    from hedgerow.client.secure import register_file
    from hedgerow.secure.errors import Malformed

    _existing(file)
    try:
        left = register_file.remove(file, names)
    except (Malformed, ValueError, OSError) as error:
        raise CommandError(str(error)) from error
    terminal.say(f"removed {', '.join(map(repr, names))}; {file} has {_summary(left)}")
    terminal.tell("the devices use their copies until you replace those too")


def _existing(file: Path) -> dict[str, bytes]:
    from hedgerow.client.secure.register_file import load_register
    from hedgerow.secure.errors import Malformed

    if not file.is_file():
        raise CommandError(f"{file} does not exist; create it with: hedgerow register add {file} LINE...")
    try:
        return load_register(file)
    except Malformed as error:
        raise CommandError(str(error)) from error


def _summary(known: dict[str, bytes]) -> str:
    from hedgerow.client.secure.register_file import fingerprint

    return f"{len(known)} client{'s' * (len(known) != 1)}, fingerprint {fingerprint(known)}"
