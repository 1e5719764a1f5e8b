"""Evaluation of models with a graph."""

from collections.abc import Iterator, Mapping
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from hedgerow.client.draws import Draws
from hedgerow.client.fitting import check_model, unfit
from hedgerow.client.onnx.form import Form, form_of
from hedgerow.client.onnx.steps import Measures, totals
from hedgerow.graphs.signature import SUM, Signature
from hedgerow.types import Model, Samples
from hedgerow.wording import first_line


@final
class Evaluator:
    """Evaluates models. The graph is loaded when it is first used.

    Args:
        content: of a graph that evaluates.
        signature: of it.
        threads: that it may use.
    """

    def __init__(self, content: bytes, signature: Signature, threads: int) -> None:
        self._content, self._signature, self._threads = content, signature, threads
        self._loaded: Measures | None = None

    @property
    def form(self) -> Form:
        """The samples that it takes."""
        return form_of(self._signature)

    def evaluate(self, model: Model, data: Samples) -> dict[str, float]:
        """As `Trainer.evaluate`."""
        who = "evaluation"
        self.form.check(data, who)
        found = totals(self._signature)
        for part, outputs in self._measured(model, data, who):
            found["loss"] += float(outputs["loss"]) * (part.stop - part.start)
            for name in found:
                if name != "loss":
                    found[name] += float(outputs[f"{SUM}{name}"])
        return {name: total / len(data) for name, total in found.items()}

    def outputs(self, model: Model, x: NDArray[Any]) -> NDArray[np.float32]:
        """As `Predicts.outputs`."""
        who, data = "prediction", self.form.without_targets(x)
        if "outputs" not in self._signature.outputs:
            raise ValueError("the graph gives no outputs, since the model's are no single tensor")
        self.form.check(data, who)
        given = self._measured(model, data, who)
        return np.concatenate([found["outputs"][: p.stop - p.start].copy() for p, found in given])

    def _measured(
        self, model: Model, data: Samples, who: str
    ) -> Iterator[tuple[slice, Mapping[str, NDArray[Any]]]]:
        check_model(model, self._signature.layout)
        if self._loaded is None:
            self._loaded = Measures(self._content, self._signature, self._threads)
        try:
            yield from self._loaded(model, data.x, data.y, Draws(0, round=0, client=""))
        except Exception as error:  # of ONNX Runtime, whose errors have no class in common
            raise unfit(ValueError(first_line(error)), who, data.x, data.y) from error
