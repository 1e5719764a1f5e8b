"""The command that writes a recipe's local step for devices without torch."""

from pathlib import Path
from typing import Annotated

import typer

from hedgerow.experiments.cli import terminal
from hedgerow.experiments.cli.options import OverridesArgument, SourceArgument
from hedgerow.experiments.config.errors import CommandError

_OTHERWISE = "sign with another key, and list that in the devices' policies"


def export(
    source: SourceArgument,
    overrides: OverridesArgument = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Where to write.", show_default=False)
    ] = ...,  # type: ignore[assignment]
    sign: Annotated[
        Path | None,
        typer.Option(
            metavar="KEYFILE",
            show_default=False,
            help="Sign the graphs with the secret key in this file; created if missing.",
        ),
    ] = None,
) -> None:
    r"""Write a recipe's local step as one ONNX graph, which ONNX Runtime runs without torch.

    In the folder are train.onnx, a whole step with its optimizer; evaluate.onnx; and manifest.json,
    which names what goes in and comes out. Needs: pip install "hedgerow\[export]".

    Devices take graphs that their policy lists by hash, or by the key that signed them. Keep that key off the
    coordinator, which then cannot make a device run another graph.
    """
    from hedgerow.experiments.config.recipe import load_sweep
    from hedgerow.experiments.runs.export import write_graphs

    cells = load_sweep(source, overrides or ()).cells
    if len(cells) > 1:
        raise CommandError(
            f"{source} describes {len(cells)} experiments, and a graph is of one; set the keys that differ"
        )
    if sign is not None and sign.exists():
        _usable(sign)
    for name, size in write_graphs(cells[0].experiment, out).items():
        terminal.say(f"{out / name}: {size:,} bytes")
    _told(out, sign)


def _usable(key: Path) -> None:
    """Raise `CommandError` unless it is a secret key, before anything is written."""
    from hedgerow.client.secure.enrolment import secret_key
    from hedgerow.secure.errors import Malformed

    try:
        secret_key(key, _OTHERWISE)
    except (Malformed, OSError) as error:
        raise CommandError(f"nothing is exported, because nothing could be signed: {error}") from error


def _told(folder: Path, key: Path | None) -> None:
    """Sign the graphs in a folder, if there is a key, and say how a device takes them."""
    from hedgerow.client.secure.enrolment import secret_key
    from hedgerow.graphs.bundle import Graphs
    from hedgerow.graphs.offer import Offer, write_signature
    from hedgerow.secure.errors import Malformed

    graphs = Graphs.read(folder)
    terminal.say(f"hash {graphs.hash}")
    if key is None:
        terminal.tell(f'not signed: a device takes them with graphs.hashes = ["{graphs.hash}"] in its policy')
        return
    made = not key.exists()
    try:
        offer = Offer.of(graphs, secret_key(key, _OTHERWISE))
        write_signature(offer, folder)
    except (Malformed, OSError) as error:
        raise CommandError(f"the graphs are not signed: {error}") from error
    terminal.say(f"signed by {offer.key}")
    if made:
        terminal.tell(f"created {key}: keep it off the coordinator, and keep a copy of it")
    terminal.tell(f'a device takes them with graphs.keys = ["{offer.key}"] in its policy')
