"""Write the golden graphs: `python tests/golden/make_graphs.py`, by hand, when exports change on purpose.

`allowed.json` is the one list of operators and fields, which other languages must have as it is. The graphs
are small ones as they travel, and `fits.json` says what they are held to and what they find.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.export.exporting import SampleForm, export_evaluation, export_training
from hedgerow.graphs import inspection, offer, personal, walk
from hedgerow.graphs.allowed import OPERATORS
from hedgerow.graphs.bundle import Graphs
from hedgerow.graphs.offer import Offer, packed
from hedgerow.graphs.protobuf import MESSAGES
from hedgerow.graphs.values import DTYPES, SIZES
from hedgerow.models import build
from hedgerow.secure.primitives import Secret
from hedgerow.types import LocalTraining, Samples
from hedgerow.types.split import Split
from tests.phone_fits import PhoneFit, array

FOLDER = Path(__file__).parent / "graphs"
SECRET = Secret(bytes(range(32)))
SERIES, TEXT = (2, 8), (5,)
MOST = 2**26


def allowed() -> dict[str, Any]:
    """What a graph may have."""
    return {
        "operators": {
            name: {"inputs": list(each.inputs), "attributes": sorted(each.attributes)}
            for name, each in sorted(OPERATORS.items())
        },
        "fields": {
            message: {str(n): [f.name, f.kind, f.repeated] for n, f in fields.items()}
            for message, fields in MESSAGES.items()
        },
        "dtypes": {str(number): [name, SIZES[name]] for number, name in DTYPES.items()},
        "limits": {
            "largest": inspection.LARGEST, "opset": inspection.OPSET, "ir_version": inspection.IR_VERSION,
            "most": offer.MOST, "nodes": walk._MOST_NODES, "names": walk._MOST_NAMES,
            "dims": walk._MOST_DIMS, "deepest": walk._DEEPEST, "runtime": walk._RUNTIME, "arena": walk._ARENA,
        },
    }  # fmt: skip


def norms_and_dropout() -> nn.Module:
    """Draws of samples, of channels and of weights' rows; statistics that training changes."""
    return nn.Sequential(
        nn.Conv1d(2, 4, 3),
        nn.BatchNorm1d(4),
        nn.ReLU(),
        nn.Dropout1d(0.25),
        nn.Flatten(),
        nn.Dropout(0.4),
        nn.Linear(24, 3),
    )


def _samples(shape: tuple[int, ...], number: int, classes: int) -> Samples:
    rng = np.random.default_rng(3)
    whole = shape == TEXT
    x = rng.integers(0, 6, (number, *shape)) if whole else rng.normal(size=(number, *shape))
    return Samples(x if whole else x.astype(np.float32), rng.integers(0, classes, number))


NETS: dict[str, tuple[Any, tuple[int, ...], int, LocalTraining]] = {
    "logistic": (
        build("logistic", input_shape=(2,), num_classes=2), (2,), 2,
        LocalTraining(batch_size=2, learning_rate=0.1),
    ),
    "momentum": (
        build("mlp-2nn", input_shape=(2,), num_classes=2, hidden=4), (2,), 2,
        LocalTraining(batch_size=4, momentum=0.9, proximal=0.5, learning_rate_decay=0.5, epochs=2),
    ),
    "norms and dropout": (
        norms_and_dropout, SERIES, 3,
        LocalTraining(batch_size=6, optimizer="adam", learning_rate=0.01, epochs=2),
    ),
    "recurrent": (
        build("gru-char", num_classes=6, input_shape=TEXT, embedding=2, hidden=3), TEXT, 6,
        LocalTraining(batch_size=4, learning_rate=0.5, clip_gradient=0.3),
    ),
}  # fmt: skip
CORRECTED = {"norms and dropout"}
PERSONAL = {"momentum": frozenset({"linear.weight", "linear.bias"})}


def made(name: str) -> PhoneFit:
    """A net's graphs, and a fit."""
    model, shape, classes, local = NETS[name]
    task, data, corrected = Task(model), _samples(shape, 11, classes), name in CORRECTED
    torch.manual_seed(5)
    trainer = TorchTrainer(task)
    start, form = trainer.initial(1), SampleForm.of(data)
    train = export_training(task, local, form, correction=corrected)
    evaluate = export_evaluation(task, form, batch_size=local.batch_size)
    about = {"recipe": name}
    if name in PERSONAL:
        about |= personal.personal_part(Split(trainer.layout, PERSONAL[name]), start, 3)
    graphs = Graphs.of(about, train.manifest, train.content, evaluate.manifest, evaluate.content)
    size = len(start.parameters)
    correction = np.linspace(-0.01, 0.01, size, dtype=np.float32) if corrected else None
    return PhoneFit(graphs, start, data, local, correction)


def found(name: str, case: PhoneFit) -> dict[str, Any]:
    """The case without its graphs, and what is found."""
    fit, told = case.fit(), case.told()
    del told["graphs"]
    split = Split(case.trainer.layout, PERSONAL.get(name, frozenset()))
    start = personal.personal_start(case.graphs, split, 3)
    return {
        **told, "offer": Offer.of(case.graphs, SECRET).to_json(),
        "needed": inspection.inspect(case.graphs, MOST),
        "personal": sorted(split.personal), "start": None if start is None else array(start.parameters),
        "found": {
            "delta": array(fit.delta), "buffers": array(fit.buffers), "loss": fit.metrics["loss"],
            "evaluated": case.evaluated(),
        },
    }  # fmt: skip


def main() -> None:
    """Write all."""
    FOLDER.mkdir(exist_ok=True)
    cases = {name: made(name) for name in NETS}
    for name, case in cases.items():
        (FOLDER / f"{name.replace(' ', '-')}.graphs").write_bytes(packed(case.graphs))
    each = {name: found(name, case) for name, case in cases.items()}
    (FOLDER / "fits.json").write_text(json.dumps(each, indent=1) + "\n")
    (FOLDER / "allowed.json").write_text(json.dumps(allowed(), indent=1) + "\n")


if __name__ == "__main__":
    main()
