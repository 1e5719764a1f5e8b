"""The command that writes a recipe's local step for devices without torch."""

from pathlib import Path
from typing import Annotated

import typer

from hedgerow.experiments.cli import terminal
from hedgerow.experiments.cli.options import OverridesArgument, SourceArgument
from hedgerow.experiments.config.errors import CommandError


def export(
    source: SourceArgument,
    overrides: OverridesArgument = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Where to write.", show_default=False)
    ] = ...,  # type: ignore[assignment]
) -> None:
    """Write a recipe's local step as one ONNX graph, which ONNX Runtime runs without torch.

    In the folder are train.onnx, a whole step with its optimizer; evaluate.onnx; and manifest.json,
    which names what goes in and comes out. Needs: pip install "hedgerow[export]".
    """
    from hedgerow.experiments.config.recipe import load_sweep
    from hedgerow.experiments.runs.export import write_graphs

    cells = load_sweep(source, overrides or ()).cells
    if len(cells) > 1:
        raise CommandError(
            f"{source} describes {len(cells)} experiments, and a graph is of one; set the keys that differ"
        )
    for name, size in write_graphs(cells[0].experiment, out).items():
        terminal.say(f"{out / name}: {size:,} bytes")
