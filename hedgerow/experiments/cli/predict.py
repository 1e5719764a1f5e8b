"""`hedgerow predict`: on a device, without torch if the model allows it, and on a server."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hedgerow.experiments.cli import terminal
from hedgerow.experiments.config.errors import CommandError

if TYPE_CHECKING:
    from hedgerow.node.prediction import Predictions


def predict(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[KIT|FOLDER|RUN]",
            help="A device's kit or folder, or a run's folder.",
            show_default="the only device here",
        ),
    ] = None,
    data: Annotated[
        Path,
        typer.Option(metavar="FILE_OR_FOLDER", help="The samples, which need no labels.", show_default=False),
    ] = ...,  # type: ignore[assignment]
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.csv", help="Where to write.", show_default="stdout")
    ] = None,
) -> None:
    """Predict with the promoted model: a class and its probability, or a number, for each sample."""
    from hedgerow.files import write_whole

    found = _predicted(source or _only_device(), data)
    if out is None:
        sys.stdout.write(found.to_csv())
    else:
        write_whole(out, found.to_csv().encode())
        terminal.tell(f"{len(found.values)} predictions in {out}")


def _predicted(source: Path, data: Path) -> "Predictions":
    from hedgerow.node.prediction import predict as predicted

    folder = _device(source)
    if folder is not None:
        from hedgerow.promotion.delivered import Delivered

        delivered = Delivered(folder)
        standing = delivered.standing()
        if not standing:
            raise CommandError(
                f"{folder} has no promoted model yet; it is fetched while 'hedgerow join' runs, unless the"
                " policy has models = false"
            )
        now = standing[0]
        terminal.tell(
            f"the promoted model {now.model[:12]}, round {now.lineage.round} of {now.lineage.recipe}"
        )
        return predicted(delivered.path(now), now.description, data)
    from tempfile import TemporaryDirectory

    from hedgerow.experiments.runs.model_file import ready_model

    ready = ready_model(source)
    terminal.tell(ready.name)
    with TemporaryDirectory() as place:
        file = Path(place) / "model.safetensors"
        file.write_bytes(ready.content)
        return predicted(file, ready.description, data, own_code=True)


def _device(source: Path) -> Path | None:
    """The folder of a device, given as a kit or a folder; `None` for a run's folder."""
    if (source / "device.json").is_file():
        return source
    if source.is_dir():
        return None
    from hedgerow.node.device import Device, default_folder
    from hedgerow.node.kit import load_kit

    return Device(default_folder(load_kit(source))).folder


def _only_device() -> Path:
    found = sorted((Path.home() / ".hedgerow").glob("*/*/device.json"))
    if len(found) == 1:
        return found[0].parent
    listed = ", ".join(str(each.parent) for each in found) or "none"
    raise CommandError(f"which device or run? Give its kit or folder; in ~/.hedgerow there are: {listed}")
