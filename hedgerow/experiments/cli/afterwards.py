"""Commands for runs that have ended. They import heavy modules inside, so that `--help` is quick."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hedgerow.experiments.cli import terminal
from hedgerow.experiments.cli.options import JsonOption, WorkersOption
from hedgerow.experiments.config.errors import CommandError

if TYPE_CHECKING:
    from rich.table import Table

    from hedgerow.types.evaluation import ClientEvaluation, SummedEvaluation

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]

_SHOWN = 5


def evaluate(
    run: RunArgument,
    clients: Annotated[
        str, typer.Option(metavar="all|FRACTION", help="Which clients measure it; 0.5 is half of them.")
    ] = "all",
    workers: WorkersOption = None,
    json: JsonOption = False,
) -> None:
    """Evaluate a run's model on each client's held-out samples: mean, worst tenth and spread.

    With --json, what each client measured too. Of a run with a mask, the mean over all samples alone.
    """
    from json import dumps

    from hedgerow.experiments.runs.evaluate import evaluate_run
    from hedgerow.experiments.runs.processes import cores
    from hedgerow.experiments.runs.store import client_line, told

    found = evaluate_run(run, _fraction(clients), workers=workers or cores())
    if found.failed:
        raise CommandError(f"the model of {run} is not measured: {found.failed}")
    if json:
        sys.stdout.write(dumps({**told(found), "each": client_line(0, found)["clients"]}, indent=2) + "\n")
        return
    terminal.say(f"{len(found.clients)} of {len(found.bytes_down)} clients measured the model of {run}")
    terminal.out().print(_table(found))
    for name in list(found.dropped)[:_SHOWN]:
        terminal.tell(f"{name}: {found.dropped[name]}")
    if len(found.dropped) > _SHOWN:
        terminal.tell(f"and {len(found.dropped) - _SHOWN} more did not")


def _fraction(text: str) -> float:
    if text == "all":
        return 1.0
    try:
        return float(text)
    except ValueError:
        raise CommandError(
            f'--clients is {text!r}; it must be "all", or a number above 0 and at most 1'
        ) from None


def _table(found: "ClientEvaluation | SummedEvaluation") -> "Table":
    """A row for each metric: its figures, and what a tenth, half and nine tenths of clients stay under.

    What is not known under a mask is a dash.
    """
    import numpy as np
    from rich import box
    from rich.table import Table

    headers = ("mean", "by samples", "worst tenth", "spread", "10 %", "median", "90 %")
    table = Table("metric", box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        table.add_column(header, justify="right")
    for name, metric in found.summary().items():
        values = [client.metrics[name] for client in found.each.values() if name in client.metrics]
        known = vars(metric)
        figures = [known.get(figure) for figure in ("mean", "weighted_mean", "worst_tenth", "spread")]
        figures += np.quantile(values, [0.1, 0.5, 0.9]).tolist() if values else [None] * 3
        table.add_row(name, *("-" if figure is None else f"{figure:.4g}" for figure in figures))
    return table


def replay(
    run: RunArgument,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to write the model, as safetensors.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Rebuild the model of a recorded run from the replies that counted, without training.

    The exit code is 1 if it is not the run's model, bit for bit.
    """
    from dataclasses import asdict
    from json import dumps

    from hedgerow.experiments.report.units import human_bytes
    from hedgerow.experiments.runs.replay import replay_run

    found = replay_run(run, out)
    if json:
        sys.stdout.write(dumps(asdict(found), indent=2) + "\n")
    else:
        size = human_bytes(found.recorded_bytes)
        same = "is the run's model, bit for bit" if found.same else "is not the run's model"
        terminal.say(f"rounds {found.first + 1} to {found.last} from {size} of recorded replies: it {same}")
        if out is not None:
            terminal.say(f"wrote {out}")
    if not found.same:
        raise typer.Exit(1)
