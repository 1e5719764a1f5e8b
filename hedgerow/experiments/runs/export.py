"""An experiment's local step, and its evaluation, as graphs in a folder."""

import json
from pathlib import Path

from hedgerow import extras
from hedgerow.experiments.config.errors import CommandError
from hedgerow.experiments.config.schema import Experiment
from hedgerow.experiments.runs.trial import one_sample
from hedgerow.files import naming, write_whole

TRAIN, EVALUATE, MANIFEST = "train.onnx", "evaluate.onnx", "manifest.json"


def write_graphs(experiment: Experiment, folder: Path) -> dict[str, int]:
    """Write both graphs, and a manifest of them; the sizes in bytes, by name of the file.

    Args:
        experiment: whose step.
        folder: is made; nothing in it is overwritten.

    Raises:
        CommandError: there is something in the folder.
        ModuleNotFoundError: an extra is not installed.
        ValueError: the model, its loss or its training cannot be written as a graph.
    """
    for module in ("onnx", "torch"):
        extras.require(module)
    if folder.is_dir() and any(folder.iterdir()):
        raise CommandError(f"{folder} is not empty; take another folder, or empty it")
    from hedgerow.export.exporting import SampleForm, export_evaluation, export_training

    strategy = experiment.strategy()
    _, one = one_sample(experiment)
    form = SampleForm(one.x.shape[1:], str(one.x.dtype), one.y.shape[1:], str(one.y.dtype))
    corrected = any(stream.correction is not None for stream in strategy.streams)
    task, local = experiment.task(), strategy.local
    graphs = {
        TRAIN: export_training(task, local, form, correction=corrected),
        EVALUATE: export_evaluation(task, form, batch_size=local.batch_size),
    }
    manifest = {"recipe": experiment.name, "graphs": {name: each.manifest for name, each in graphs.items()}}
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, each in graphs.items():
        write_whole(folder / name, each.content)
    write_whole(folder / MANIFEST, json.dumps(manifest, indent=1).encode())  # last: with it, all is there
    return {name: len(each.content) for name, each in graphs.items()}
