"""Commands for keeping a federation running for years: certificates and backups."""

from pathlib import Path
from typing import Annotated

import typer

from hedgerow.experiments.cli import terminal
from hedgerow.experiments.cli.federation import FEDERATION, FederationOption, mistakes, opened


def certificates(
    federation: FederationOption = FEDERATION,
    renew: Annotated[bool, typer.Option("--renew", help="Issue new ones now, from the same CA.")] = False,
) -> None:
    """Show when the certificates expire; they are renewed automatically 30 days before.

    Devices trust the CA, so a new certificate from it changes nothing for them, and needs no restart.
    """
    from hedgerow.coordinator.certificates import authority, gateway_certificate, shown
    from hedgerow.coordinator.superlink import link_certificate

    with mistakes():
        folder = opened(federation)
        if renew:
            for name in ("server", "link"):
                (folder.path / f"{name}.pem").unlink(missing_ok=True)
        found = {"gateway": gateway_certificate(folder), "superlink": link_certificate(folder)}
        if folder.settings.own_ca:
            found["ca"] = authority(folder)
        for name, certificate in found.items():
            terminal.say(f"{name:<10} until {certificate.ends:%Y-%m-%d}  {certificate.certificate}")
        if renew and not folder.settings.own_ca:
            terminal.tell(f"{shown(folder).certificate} was given to 'hedgerow up': replace it there")


def backup(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="To write, such as clinics.tar.", show_default=False)
    ],
    federation: FederationOption = FEDERATION,
) -> None:
    """Write the federation, with its keys, and its current run to one file; it may keep running."""
    from hedgerow.coordinator.backup import backup as backed_up

    with mistakes():
        what = backed_up(opened(federation), file)
    terminal.say(f"{file}: {' and '.join(what)}")
    terminal.tell("it holds the keys of the CA and the gateway: keep it where nobody else can read it")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="From 'hedgerow backup'.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="New folder for the run.", show_default=False)
    ],
    federation: FederationOption = FEDERATION,
) -> None:
    """Restore a federation and its run from a backup, to continue here with the same devices."""
    from hedgerow.coordinator.backup import restore as restored

    with mistakes():
        folder = restored(file, federation, out)
    terminal.say(f"federation {folder.settings.federation} is in {federation}, its run in {out}")
    if (out / "privacy.jsonl").exists():
        terminal.tell("its ledger ends with the backup: models released since then are not in it")
    terminal.tell(f"continue with: hedgerow up {out} --out {out} --federation {federation}")
    terminal.tell("if its address has changed, add --host; on the devices: hedgerow join --address")
