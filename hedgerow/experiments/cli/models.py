"""Commands for a run's models: promote, roll back, and write to a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hedgerow.experiments.cli import terminal
from hedgerow.experiments.cli.options import JsonOption
from hedgerow.experiments.config.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hedgerow.coordinator.folder import FederationFolder
    from hedgerow.promotion.lineage import Promotion
    from hedgerow.promotion.shelf import Shelf

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False)]
FederationOption = Annotated[
    Path | None,
    typer.Option(
        "--federation", metavar="FOLDER", help="Whose devices will use it.",
        show_default="the run's federation; else the run's own folder",
    ),
]  # fmt: skip


def promote(
    run: RunArgument,
    round: Annotated[
        str, typer.Argument(metavar="[ROUND|last|best]", help="Whose model; see run.keep_models.")
    ] = "last",
    canary: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Have this fraction of the devices measure it first.", show_default=False
        ),
    ] = None,
    better: Annotated[float, typer.Option(metavar="X", help="Smallest gain over the current model.")] = 0.0,
    worse: Annotated[float, typer.Option(metavar="Y", help="Largest loss of a group.")] = 0.05,
    metric: Annotated[
        str, typer.Option(metavar="NAME", help="To compare by.", show_default="accuracy, or loss")
    ] = "",
    groups: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="CSV: a device and its group in each line.", show_default="a group each"
        ),
    ] = None,
    federation: FederationOption = None,
    json: JsonOption = False,
) -> None:
    """Promote the model of a round: devices fetch it, and it is what 'predict' and 'model' use.

    With --canary, a share of the devices measures it and the current model on held-out samples: it is
    accepted if it is better by X, and no group is worse by more than Y. The exit code is 1 if it is not.
    """
    from hedgerow.experiments.runs.promote import NotPromoted
    from hedgerow.experiments.runs.promote import promote as promoted
    from hedgerow.promotion.canary import Canary

    if canary is None and (better or metric or groups):
        raise CommandError("--better, --worse, --metric and --groups need a canary; give --canary SHARE")
    rule = None if canary is None else Canary(canary, better, worse, metric)
    try:
        found = promoted(
            run, round, federation=_folder(federation), canary=rule,
            groups=None if groups is None else _groups(groups), tell=terminal.tell,
        )  # fmt: skip
    except NotPromoted as error:
        terminal.complain(str(error))
        raise typer.Exit(1) from None
    _show(found, json)


def rollback(run: RunArgument, federation: FederationOption = None, json: JsonOption = False) -> None:
    """Roll back to the previously promoted model, also on devices."""
    before, now = _shelf(run, federation).rollback()
    if not json:
        terminal.say(f"rolled back {_line(before)}")
    _show(now, json)


def promoted(run: RunArgument, federation: FederationOption = None, json: JsonOption = False) -> None:
    """Show a run's promoted model, the ones before it, and the rounds that can be promoted."""
    from hedgerow.promotion.candidates import candidates

    standing, found = _shelf(run, federation).standing(), candidates(run)
    if json:
        from json import dumps

        rows = [{"round": each.round, "metric": each.metric, "value": each.value} for each in found]
        shown = {"standing": [each.to_json() for each in standing], "candidates": rows}
        terminal.say(dumps(shown, indent=1, ensure_ascii=False))
        return
    for place, each in enumerate(reversed(standing)):
        terminal.say(f"{'before:  ' if place else 'promoted:'} {_line(each)}")
        if not place:
            _details(each)
    if not standing:
        terminal.say("no model has been promoted yet")
    told = (f"{each.round}" + (f" ({each.metric} {each.value:.4g})" if each.metric else "") for each in found)
    terminal.say(f"candidates: rounds {', '.join(told)}" if found else "candidates: none are kept")


def model(
    run: RunArgument,
    to: Annotated[
        Path, typer.Option(metavar="FILE", help=".safetensors, or .pt2 of torch.export.", show_default=False)
    ],
    round: Annotated[
        str,
        typer.Option(metavar="promoted|ROUND|last|best", help="Which.", show_default="promoted, or last"),
    ] = "",
) -> None:
    """Write a model of a run to a file that includes its lineage."""
    from hedgerow.experiments.runs.model_file import write_model

    found = write_model(run, to, round)
    terminal.say(f"{to}: {found.name}")


def _show(found: "Promotion", json: bool) -> None:
    if json:
        from json import dumps

        terminal.say(dumps(found.to_json(), indent=1, ensure_ascii=False))
        return
    terminal.say(f"promoted: {_line(found)}")
    _details(found)


def _line(found: "Promotion") -> str:
    lineage = found.lineage
    return (
        f"{found.model[:16]}, round {lineage.round} of {lineage.recipe}, {found.time}, {found.rule['rule']}"
    )


def _details(found: "Promotion") -> None:
    lineage = found.lineage
    measured = ", ".join(f"{name} {value:.4g}" for name, value in lineage.metrics.items())
    terminal.say(f"  {lineage.clients} clients counted; {lineage.told_privacy()}; trust: {lineage.trust}")
    if measured:
        terminal.say(f"  {measured}")


def _shelf(run: Path, federation: Path | None) -> "Shelf":
    from hedgerow.experiments.runs.promote import shelf_of

    return shelf_of(run, _folder(federation))[0]


def _folder(federation: Path | None) -> "FederationFolder | None":
    from hedgerow.coordinator.folder import FederationFolder

    return None if federation is None else FederationFolder.open(federation)


def _groups(file: Path) -> "Mapping[str, str]":
    """`{device: group}`; raises `CommandError` for an invalid line."""
    import csv

    found: dict[str, str] = {}
    with file.open(encoding="utf-8-sig", newline="") as stream:
        for number, row in enumerate(csv.reader(stream), 1):
            cells = [cell.strip() for cell in row]
            if len(cells) != 2 or not all(cells) or cells[0] in found:
                raise CommandError(
                    f"{file}, line {number} is {','.join(row)!r}; it must be a device's name, a comma and its"
                    " group, each device once"
                )
            found[cells[0]] = cells[1]
    return found
