"""The command line: the commands, in the order in which `--help` lists them."""

import os
from collections.abc import Callable
from typing import Annotated

import typer

from hedgerow.experiments.cli import afterwards as afterwards_commands
from hedgerow.experiments.cli import devices as device_commands
from hedgerow.experiments.cli import export as export_command
from hedgerow.experiments.cli import federation as federation_commands
from hedgerow.experiments.cli import inspect as look_commands
from hedgerow.experiments.cli import models as model_commands
from hedgerow.experiments.cli import node as node_commands
from hedgerow.experiments.cli import operate as operate_commands
from hedgerow.experiments.cli import phones as phone_commands
from hedgerow.experiments.cli import policy as policy_commands
from hedgerow.experiments.cli import predict as predict_command
from hedgerow.experiments.cli import register as register_commands
from hedgerow.experiments.cli import rehearse as rehearse_commands
from hedgerow.experiments.cli import run as run_commands
from hedgerow.experiments.cli import simulate, terminal
from hedgerow.experiments.cli import up as up_command

app = typer.Typer(
    name="hedgerow",
    cls=terminal.Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """The `hedgerow` command."""
    app(prog_name="hedgerow")


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=terminal.print_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; HEDGEROW_DEBUG=1 does the same.")
    ] = False,
) -> None:
    """Federated learning for edge devices: what each update costs, and what it gives.

    Try [bold]hedgerow sweep demo[/bold]: four ways of sending an update, compared on real pictures.
    """
    if debug and "HEDGEROW_DEBUG" not in os.environ:
        os.environ["HEDGEROW_DEBUG"] = "1"  # for processes that the command starts
        context.call_on_close(lambda: os.environ.pop("HEDGEROW_DEBUG", None))


PANELS: dict[str, dict[str, Callable[..., None]]] = {
    "Run": {
        "run": run_commands.run,
        "simulate": simulate.simulate,
        "sweep": run_commands.sweep,
        "resume": run_commands.resume,
        "compare": run_commands.compare,
        "evaluate": afterwards_commands.evaluate,
        "replay": afterwards_commands.replay,
        "audit": run_commands.audit,
    },
    "Look": {
        "list": look_commands.list_,
        "show": look_commands.show,
        "copy": look_commands.copy,
        "check": look_commands.check,
        "data": look_commands.data,
        "privacy": look_commands.privacy,
    },
    "Models": {
        "promote": model_commands.promote,
        "rollback": model_commands.rollback,
        "promoted": model_commands.promoted,
        "model": model_commands.model,
        "export": export_command.export,
    },
    "Federation": {
        "rehearse": rehearse_commands.rehearse,
        "up": up_command.up,
        "invite": federation_commands.invite,
        "status": federation_commands.status,
        "devices": federation_commands.devices,
        "logs": federation_commands.logs,
        "revoke": federation_commands.revoke,
        "stop": federation_commands.stop,
        "phones-page": phone_commands.phones_page,
        "certificates": operate_commands.certificates,
        "backup": operate_commands.backup,
        "restore": operate_commands.restore,
    },
    "Devices": {
        "join": node_commands.join,
        "leave": node_commands.leave,
        "predict": predict_command.predict,
        "enrol": device_commands.enrol,
    },
}
for panel, commands in PANELS.items():
    for name, command in commands.items():
        app.command(name, rich_help_panel=panel)(command)
device_commands.register.command("sign")(register_commands.sign)
device_commands.register.command("publish")(register_commands.publish)
app.add_typer(device_commands.register, name="register", rich_help_panel="Devices")
app.add_typer(policy_commands.policy, name="policy", rich_help_panel="Devices")
