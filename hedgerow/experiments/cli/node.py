"""Commands of a device that takes part in a federation. They need neither torch nor Flower."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hedgerow.experiments.cli import terminal
from hedgerow.experiments.config.errors import CommandError

if TYPE_CHECKING:
    from hedgerow.client.policy import Policy
    from hedgerow.node.kit import Kit

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder", metavar="FOLDER", help="Of the device.", show_default="~/.hedgerow/FEDERATION/NAME"
    ),
]


def join(
    kit: Annotated[
        Path,
        typer.Argument(metavar="KIT", help="The file from 'hedgerow invite'.", show_default=False),
    ],
    data: Annotated[
        Path,
        typer.Option(
            metavar="FILE_OR_FOLDER",
            help="The device's own data: a .csv or .npz file, or a folder of pictures for each class.",
            show_default=False,
        ),
    ],
    policy: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="What the device answers; by default, you are shown a policy and asked."
        ),
    ] = None,
    trainer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default="a run's own, or by graphs if it needs what is not installed",
            help="Train with this in place of a run's own, such as onnx: by graphs, without torch.",
        ),
    ] = None,
    folder: FolderOption = None,
    selftest: Annotated[
        bool, typer.Option("--selftest", help="Only check and measure what the device has; it does not join.")
    ] = False,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="First change the device's node key; it must have joined.")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="https://HOST:PORT", help="Where the coordinator is now.", show_default="as before"
        ),
    ] = None,
    service: Annotated[
        bool,
        typer.Option(
            "--service", help="Only print a unit for systemd, which joins and takes part from each boot on."
        ),
    ] = False,
) -> None:
    """Take part in a federation with this device's own data, until SIGTERM or Ctrl-C.

    The device's keys are created here, and only their public halves are sent. Run it again to continue.
    """
    from hedgerow.node.confinement import confine
    from hedgerow.node.device import Device, default_folder
    from hedgerow.node.kit import load_kit

    invitation = load_kit(kit)
    place = (folder or default_folder(invitation)).expanduser().absolute()
    if service:
        _print_unit(invitation, kit, data, policy)
    if selftest:
        _selftest(invitation, place, data, policy)
    there = invitation if address is None else replace(invitation, address=address)
    _joined(there, place, data, policy, trainer)
    _changed(place, rotate, address)
    # The node is a fresh process, without the modules that the command line has loaded.
    sys.stdout.flush()
    environment = {**os.environ, **confine(Device(place).guard().policy.limits)}
    os.execve(sys.executable, [sys.executable, "-m", "hedgerow.node", str(place)], environment)


def leave(
    kit: Annotated[
        Path | None,
        typer.Argument(metavar="[KIT]", help="The kit with which the device joined.", show_default=False),
    ] = None,
    folder: FolderOption = None,
) -> None:
    """Leave a federation, and erase this device's keys and everything it remembers of it.

    Its data stays. To come back, it needs a new kit.
    """
    from hedgerow.node.device import default_folder
    from hedgerow.node.join import leave as leave_federation
    from hedgerow.node.kit import load_kit

    if (kit is None) == (folder is None):
        raise CommandError("give the kit with which the device joined, or --folder FOLDER")
    place = folder if folder is not None else default_folder(load_kit(kit))  # type: ignore[arg-type]
    leave_federation(place.expanduser().absolute(), terminal.tell)
    terminal.say(f"left; {place} is gone")


def _joined(kit: "Kit", place: Path, data: Path, policy: Path | None, trainer: str | None) -> None:
    """Join, or if the device has already joined, accept new data, a new policy and another trainer."""
    from hedgerow import checks
    from hedgerow.client.policy_file import NAME, policy_text
    from hedgerow.client.trainers import TRAINERS
    from hedgerow.files import PRIVATE, write_whole
    from hedgerow.node.device import Device
    from hedgerow.node.join import NotJoined
    from hedgerow.node.join import join as join_federation
    from hedgerow.node.own_samples import resolved

    own = resolved(data)
    if trainer is not None:
        checks.one_of(TRAINERS.names(), trainer=trainer)
    if (place / "device.json").exists():
        device = Device(place)
        if device.enrolled.kit.federation != kit.federation or device.name != kit.name:
            raise CommandError(
                f"{place} belongs to {device.name!r} of another federation; give another --folder"
            )
        device.change(data=own, **({} if trainer is None else {"trainer": trainer}))
        if policy is not None:
            write_whole(place / NAME, policy_text(_agreed(_policy(policy))).encode(), mode=PRIVATE)
        return
    chosen = _agreed(_policy(policy))
    terminal.say(policy_text(chosen).rstrip("\n"))
    if policy is None:
        if not sys.stdin.isatty():
            raise CommandError(
                "there is nobody to ask whether this policy is right: write it to a file, change what is"
                " wrong, and give --policy FILE"
            )
        typer.confirm("Is this what the device should answer?", abort=True)
    try:
        join_federation(kit, place, data, chosen, trainer or "")
    except NotJoined as error:
        raise CommandError(str(error)) from error
    terminal.tell(f"{kit.name!r} has joined; its keys and its policy are in {place}")


def _agreed(policy: "Policy") -> "Policy":
    """The policy, with its owner's consent to graphs in the clear if that is needed and given."""
    graphs = policy.graphs
    if not graphs.takes_any or graphs.in_the_clear or policy.masked_only or policy.sample_noise:
        return policy
    why = 'A graph could return the data as "parameters", and this policy requires neither a mask nor noise.'
    if not sys.stdin.isatty():
        terminal.tell(f"{why} Without graphs.in_the_clear = true in it, no graph trains in such a run")
        return policy
    agreed = typer.confirm(f"{why} May this device train by graphs in such runs, too?")
    return replace(policy, graphs=replace(graphs, in_the_clear=agreed))


def _changed(place: Path, new_key: bool, address: str | None) -> None:
    """Change a device's key, or its coordinator's address, as requested."""
    from hedgerow.node.device import Device
    from hedgerow.node.join import NotJoined
    from hedgerow.node.rotate import move, rotate

    if address is not None:
        move(Device(place), address)
    if new_key:
        try:
            rotate(Device(place))
        except NotJoined as error:
            raise CommandError(str(error)) from error
        terminal.tell("the device has a new key")


def _policy(file: Path | None) -> "Policy":
    from hedgerow.client.policy import Policy
    from hedgerow.client.policy_file import load_policy

    return Policy() if file is None else load_policy(file)


def _print_unit(kit: "Kit", file: Path, data: Path, policy: Path | None) -> None:
    from hedgerow.node.own_samples import resolved
    from hedgerow.node.service import unit

    if policy is None:
        raise CommandError("a service has nobody to ask: give --policy FILE (see: hedgerow policy show)")
    resolved(data)
    terminal.say(unit(kit, file, data, policy, _policy(policy).limits).rstrip("\n"))
    raise typer.Exit


def _selftest(kit: "Kit", place: Path, data: Path, policy: Path | None) -> None:
    from hedgerow.client.policy_file import NAME
    from hedgerow.node.confinement import confine
    from hedgerow.node.selftest import checks_of

    standing = place / NAME
    rules, well = _policy(policy or (standing if standing.exists() else None)), True
    confine(rules.limits)
    for good, text in checks_of(kit, place, data, rules):
        terminal.say(f"{'ok    ' if good else 'failed'}  {text}")
        well &= good
    raise typer.Exit(0 if well else 1)
