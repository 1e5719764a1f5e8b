"""The samples that a graph takes."""

from dataclasses import dataclass
from typing import final

import numpy as np

from hedgerow.client.fitting import check_probabilities, check_samples, unfit
from hedgerow.graphs.signature import CROSS_ENTROPY, Port, Signature
from hedgerow.types import Samples

NOT_COUNTED = -100
"""A target that cross entropy leaves out, as torch's does."""


@final
@dataclass(frozen=True)
class Form:
    """The form of samples and targets.

    Attributes:
        x: of a batch of samples.
        y: of their targets.
        classes: how many there are, where targets are classes; else `None`.
        probabilities: whether targets are the probabilities of classes.
    """

    x: Port
    y: Port
    classes: int | None
    probabilities: bool

    def check(self, data: Samples, who: str) -> None:
        """Refuse samples that the graph does not take.

        Raises:
            ValueError: there are none, or they are of another form, or a target is no class, or
                a whole number among the samples is negative: ONNX Runtime would take -1 for the
                last class or word. The error names `who`.
        """
        check_samples(data, who)
        for name, port in (("samples", self.x), ("targets", self.y)):
            given = data.x if name == "samples" else data.y
            if given.shape[1:] != port.shape[1:] or given.dtype != port.dtype:
                raise unfit(
                    ValueError(
                        f"the graph takes {name} of shape {port.shape[1:]} ({port.dtype}), and these have"
                        f" {given.shape[1:]} ({given.dtype})"
                    ),
                    who, data.x, data.y,
                )  # fmt: skip
        if data.x.dtype == np.int64 and data.x.min(initial=0) < 0:
            raise unfit(ValueError(f"index {data.x.min()} is out of range"), who, data.x, data.y)
        if self.probabilities:
            check_probabilities(data, who)
        if self.classes is not None:
            none = (data.y >= self.classes) | ((data.y < 0) & (data.y != NOT_COUNTED))
            if none.any():
                wrong = ValueError(
                    f"target {data.y[none][0]} is out of bounds, there are {self.classes} classes"
                )
                raise unfit(wrong, who, data.x, data.y)

    def without_targets(self, x: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> Samples:
        """Samples with zeros for their targets, which have no part in a model's outputs."""
        return Samples(x, np.zeros((len(x), *self.y.shape[1:]), self.y.dtype))


def form_of(evaluate: Signature) -> Form:
    """The samples that a graph takes which evaluates, and the one that trains with it."""
    x, y = evaluate.inputs["x"], evaluate.inputs["y"]
    default, outputs = evaluate.loss == CROSS_ENTROPY, evaluate.outputs.get("outputs")
    classes = default and y.dtype == "int64" and outputs is not None and len(outputs.shape) > 1
    return Form(x, y, outputs.shape[1] if classes and outputs else None, default and y.dtype != "int64")
