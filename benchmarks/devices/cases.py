"""The shipped models with made-up samples, and their graphs in a folder."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow.graphs.bundle import Graphs
from hedgerow.types import LocalTraining, Model, Samples

BATCH = 32
PICTURES, SERIES, TEXT = (1, 28, 28), (9, 128), (80,)
CASES: dict[str, tuple[tuple[int, ...], int, int]] = {
    "logistic": (PICTURES, 10, 100),
    "mlp-2nn": (PICTURES, 10, 50),
    "cnn-small": (PICTURES, 10, 20),
    "cnn-fedavg": (PICTURES, 10, 4),
    "resnet-gn-tiny": (PICTURES, 10, 6),
    "cnn-1d": (SERIES, 6, 25),
    "gru-char": (TEXT, 80, 4),
    "lstm-char": (TEXT, 80, 1),
}
"""Shape of a sample, classes, and the steps of an epoch that is timed."""

LOCAL = LocalTraining(batch_size=BATCH, learning_rate=0.05, momentum=0.9)


def samples(name: str, steps: int) -> Samples:
    """So many batches."""
    shape, classes, _ = CASES[name]
    random, number = np.random.default_rng(0), BATCH * steps
    whole = random.integers(0, classes, (number, *shape)) if shape == TEXT else None
    x = random.normal(size=(number, *shape)).astype(np.float32) if whole is None else whole
    return Samples(x, random.integers(0, classes, number))


def read(folder: Path, name: str) -> tuple[Graphs, Model]:
    """A model's graphs, and its first values."""
    return Graphs.read(folder / name), Model(np.load(folder / name / "parameters.npy"))


def task_of(name: str) -> Any:
    """The task, which needs torch."""
    from hedgerow.client.task import Task
    from hedgerow.models import build

    shape, classes, _ = CASES[name]
    return Task(build(name, input_shape=shape, num_classes=classes))


def export(folder: Path) -> None:
    """Write all graphs that can be written, with the first values of each model; needs torch and onnx."""
    from hedgerow.client.torch.trainer import TorchTrainer
    from hedgerow.export.errors import CannotExport
    from hedgerow.export.exporting import SampleForm, export_evaluation, export_training

    for name in CASES:
        task, form = task_of(name), SampleForm.of(samples(name, 1))
        try:
            train = export_training(task, LOCAL, form)
            evaluate = export_evaluation(task, form, batch_size=BATCH)
        except CannotExport as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        graphs = Graphs.of(
            {"recipe": name}, train.manifest, train.content, evaluate.manifest, evaluate.content
        )
        graphs.write(folder / name)
        np.save(folder / name / "parameters.npy", TorchTrainer(task).initial(0).parameters)
    (folder / "models.json").write_text(json.dumps([n for n in CASES if (folder / n).is_dir()]))
