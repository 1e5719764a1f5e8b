"""Commands of other packages, under the entry point `hedgerow.commands`.

A command is a function for `typer`, or a `typer.Typer` with its own commands.
"""

from collections.abc import Callable

import click
import typer

from hedgerow.registry import Registry

COMMANDS = Registry("command", "hedgerow.commands", {})
"""Commands from other packages; Hedgerow's own are in `main.py`, and their names take precedence."""

PANEL = "Other packages"


def plugin_command(name: str) -> click.Command:
    """The command that another package provides under this name.

    One that cannot be loaded is listed anyway, and says why when it is run.
    """
    try:
        part = COMMANDS.get(name)
    except ImportError as error:
        part = _broken(error)
    host = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    if isinstance(part, typer.Typer):
        host.add_typer(part, name=name, rich_help_panel=PANEL)
    else:
        host.command(name, rich_help_panel=PANEL)(part)
    return typer.main.get_group(host).commands[name]


def _broken(error: ImportError) -> Callable[[], None]:
    def broken() -> None:
        raise error

    broken.__doc__ = str(error)
    return broken
