"""Commands of other packages, under the entry point `hedgerow.commands`.

One is a function that `typer` makes a command of, or a `typer.Typer` with commands of its own.
"""

from collections.abc import Callable

import click
import typer

from hedgerow.registry import Registry

COMMANDS = Registry("command", "hedgerow.commands", {})
"""Commands that other packages add; those of Hedgerow stand in `main.py`, and keep their names."""

PANEL = "Other packages"


def plugin_command(name: str) -> click.Command:
    """The command that another package has under that name.

    One that cannot be loaded is listed all the same, and says why when it is run.
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
