"""Predictions of a promoted model for a file of one's own, with or without torch."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from hedgerow.client.capabilities import predicts
from hedgerow.datasets.own_file import Inputs, load_inputs
from hedgerow.extras import remedy
from hedgerow.models.without_torch import Floats, forward
from hedgerow.node.described_trainer import evaluating_trainer, is_installed
from hedgerow.node.errors import NoTrainer
from hedgerow.promotion.tensors import model_of
from hedgerow.recipe.announcement import Described, understand
from hedgerow.recipe.own_data import OwnSchema


class CannotPredict(ValueError):
    """Nothing can be predicted with this model here; the error says why, and what to do."""


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for samples.

    Attributes:
        inputs: the samples.
        classes: names of the classes; empty if numbers are predicted.
        values: probabilities of the classes `(n, classes) float64`, or numbers `(n,) float64`.
    """

    inputs: Inputs
    classes: tuple[str, ...]
    values: NDArray[np.float64]

    def to_csv(self) -> str:
        """A line for each sample: its position, the prediction, and the probability of each class."""
        stream = io.StringIO()
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow([self.inputs.kind, "prediction", *(f"probability of {name}" for name in self.classes)])
        for place, value in zip(self.inputs.places, self.values, strict=True):
            if self.classes:
                rows.writerow([place, self.classes[int(value.argmax())], *(f"{each:.6g}" for each in value)])
            else:
                rows.writerow([place, f"{value:.9g}"])
        return stream.getvalue()


def predict(model: Path, description: str, data: Path, *, own_code: bool = False) -> Predictions:
    """A model's predictions for the samples in a file, which need no labels.

    Args:
        model: its safetensors file.
        description: of the run that made it.
        data: in the form of the run's schema.
        own_code: whether the run may name the user's own code: only where it ran, never on a device.

    Raises:
        CannotPredict: something is not installed, or the model is not the description's.
        DoesNotFit, DataFileError: (ValueErrors) the data does not fit, or cannot be read.
    """
    run = understand(description)
    if not own_code and not is_installed(run):
        raise CannotPredict(
            f"model {run.model!r} or trainer {run.trainer!r} is not installed here; install the package that"
            " provides it"
        )
    if run.strategy.personal:
        raise CannotPredict(
            "each client keeps its own layers in this run, and the promoted model only has their initial"
            " values: its predictions would be useless"
        )
    schema = _schema(run)
    inputs = load_inputs(data, schema)
    outputs = np.asarray(_outputs(model, run, inputs.x), np.float64).reshape(len(inputs.x), -1)
    if outputs.shape[1] != schema.num_outputs:
        raise CannotPredict(
            f"the model gives {outputs.shape[1]} values for a sample, and the run has {schema.num_outputs}"
        )
    return Predictions(inputs, schema.classes, _softmax(outputs) if schema.classes else outputs[:, 0])


def _schema(run: Described) -> OwnSchema:
    """The schema of the samples: the run's own, or that of its data set's arrays."""
    if run.schema is not None:
        return run.schema
    classes = tuple(map(str, range(run.num_outputs))) if run.kind == "classification" else ()
    return OwnSchema(shape=run.input_shape, classes=classes)


def _outputs(model: Path, run: Described, x: Floats) -> Floats:
    try:
        tensors = load_file(model)
    except (SafetensorError, OSError) as error:
        raise CannotPredict(f"the model {model} cannot be read: {error}") from error
    try:
        trainer = evaluating_trainer(run)
    except NoTrainer as error:
        if (plain := forward(run.model, tensors)) is not None and run.lora is None:
            return plain(x)
        cause = error.__cause__
        what = remedy(cause) if isinstance(cause, ImportError) else ""
        raise CannotPredict(what or str(error)) from error
    if not predicts(trainer):
        raise CannotPredict(
            f"trainer {run.trainer!r} does not predict; give it a method outputs(model, x), and declare"
            " 'outputs' in its supports"
        )
    return trainer.outputs(model_of(tensors, trainer.layout), x)


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    found: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return found
