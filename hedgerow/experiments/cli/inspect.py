"""Commands that show something. They import heavy modules inside, so that `--help` is quick."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hedgerow.experiments.cli import terminal
from hedgerow.experiments.cli.options import (
    JsonOption,
    OverridesArgument,
    SourceArgument,
)
from hedgerow.experiments.config.errors import CommandError
from hedgerow.files import naming


class Kind(StrEnum):
    """The kinds of parts that `list` can list."""

    recipes = "recipes"
    datasets = "datasets"
    partitions = "partitions"
    models = "models"
    strategies = "strategies"
    trainers = "trainers"
    transforms = "transforms"
    aggregates = "aggregates"
    personal = "personal"
    attacks = "attacks"
    devices = "devices"


def list_(
    kind: Annotated[Kind | None, typer.Argument(metavar="[KIND]", help="One of these; default: all.")] = None,
    json: JsonOption = False,
) -> None:
    """List recipes, and the parts that a recipe may name, a line each."""
    from hedgerow.experiments.cli import catalogue

    catalogue.print_list([kind] if kind else list(Kind), json)


def show(name: Annotated[str, typer.Argument(metavar="RECIPE")]) -> None:
    """Print a recipe: TOML, with comments that explain it."""
    from hedgerow.experiments.config.recipe import recipe_text

    terminal.print_toml(recipe_text(name))


def copy(
    name: Annotated[str, typer.Argument(metavar="RECIPE")],
    file: Annotated[Path, typer.Argument(help="Where to write it; nothing is overwritten.")],
) -> None:
    """Copy a recipe to a file, to edit it."""
    from hedgerow.experiments.config.recipe import recipe_text

    text = recipe_text(name)
    target = file / f"{name}.toml" if file.is_dir() else file
    try:
        with naming(target), target.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise CommandError(f"{target} already exists; choose another name, or remove it") from None
    terminal.say(f"wrote {target}; run it with: hedgerow run {target}")


def check(source: SourceArgument, overrides: OverridesArgument = None) -> None:
    """Check a configuration without running it, and report every mistake.

    The data is loaded and split, and one sample goes through the model and the loss.
    """
    from hedgerow.experiments.config.recipe import load_sweep

    cells = load_sweep(source, overrides or ()).cells
    from hedgerow.experiments.runs.trial import try_out

    for note in try_out([cell.experiment for cell in cells], source):
        terminal.tell(note)
    terminal.say(f"{source}: no mistakes; {len(cells)} experiment{'s' * (len(cells) > 1)}:")
    for cell in cells:
        terminal.say(
            f"  {cell.experiment.label}, seed {cell.experiment.seed}, {cell.experiment.rounds} rounds"
        )


def data(
    name: Annotated[str, typer.Argument(metavar="DATASET", help="A name (see 'hedgerow list'), or a path.")],
    options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...", help="Of the loader or the partition: label=sick partition.alpha=0.3"
        ),
    ] = None,
    partition: Annotated[
        str | None,
        typer.Option(help="How samples are split.", show_default="natural if samples have owners, else iid"),
    ] = None,
    clients: Annotated[int | None, typer.Option(min=1, help="Number of clients.")] = None,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    json: JsonOption = False,
) -> None:
    """Show a data set and its split among clients: rows, classes, sizes, and a heat map."""
    from hedgerow.experiments.cli import catalogue

    catalogue.print_data(name, options or [], partition, clients, seed, json)


def privacy(
    epsilon: Annotated[float | None, typer.Option(help="In all rounds together.")] = None,
    delta: Annotated[
        float | None, typer.Option(help="Probability with which epsilon may fail: well below 1 / clients.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Number of rounds.")] = None,
    noise: Annotated[float | None, typer.Option(help="Noise multiplier: sigma / clip norm.")] = None,
    rate: Annotated[
        float | None, typer.Option(help="A client's chance of being in a round; 1: always.")
    ] = None,
    parameters: Annotated[
        int | None, typer.Option(help="For skellam_noise: number of the model's trainable values.")
    ] = None,
    norm: Annotated[float | None, typer.Option(help="For skellam_noise: its clip norm.")] = None,
    unit: Annotated[float | None, typer.Option(help="For skellam_noise: its unit.")] = None,
    adjacency: Annotated[
        str,
        typer.Option(help="Epsilon is for a client's data removed ('zero_out') or replaced ('replace')."),
    ] = "zero_out",
    json: JsonOption = False,
) -> None:
    """Compute whichever of epsilon, delta, rounds, noise and rate is left out, for DP-FedAvg.

    With parameters, norm and unit, the noise is what clients add with skellam_noise.
    """
    from hedgerow.experiments.cli import privacy as plan

    plan.print_plan(
        epsilon=epsilon, delta=delta, rounds=rounds, noise_multiplier=noise, rate=rate,
        parameters=parameters, norm=norm, unit=unit, adjacency=adjacency, json=json,
    )  # fmt: skip
