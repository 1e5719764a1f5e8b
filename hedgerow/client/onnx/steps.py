"""Steps of local training, and measurements of a model, by a graph."""

from collections.abc import Iterator, Mapping
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from hedgerow.client.draws import Draws
from hedgerow.client.onnx.batch import Batch
from hedgerow.client.onnx.session import Session, zeros
from hedgerow.graphs.signature import NEW, STATE, SUM, Port, Signature
from hedgerow.types import Model

_VECTORS = ("parameters", "buffers", "constants")


@final
class Steps:
    """Steps of local training.

    What a step changes lies in two places; each step reads one, and writes the other.

    Args:
        content: of a graph that trains.
        signature: of it.
        threads: that it may use.
    """

    def __init__(self, content: bytes, signature: Signature, threads: int) -> None:
        session = Session(content, signature, threads)
        self.batch = Batch(signature)
        self._draws = signature.draws
        changed = [name for name in (*_VECTORS, *STATE) if f"{NEW}{name}" in signature.outputs]
        self._loss = zeros(signature.outputs["loss"])
        self._fixed = self.batch.arrays | {
            name: zeros(port)
            for name, port in signature.inputs.items()
            if name not in changed and name not in self.batch.arrays
        }
        self._places = [{name: zeros(signature.inputs[name]) for name in changed} for _ in range(2)]
        self._runs = [
            session.bind(
                {**self._fixed, **self._places[at]},
                {"loss": self._loss, **{f"{NEW}{n}": a for n, a in self._places[1 - at].items()}},
            )
            for at in range(2)
        ]
        self._at = 0

    def begin(self, model: Model, learning_rate: float, correction: NDArray[Any] | None = None) -> None:
        """Start a round from a model.

        Args:
            model: its values.
            learning_rate: of this round.
            correction: added to every step's gradient, `(d,)`, if the graph takes one.
        """
        given = {name: getattr(model, name) for name in _VECTORS}
        given |= {"start": model.parameters, "learning_rate": learning_rate, "step": 0}
        given["correction"] = 0 if correction is None else correction
        for arrays in (self._fixed, self._places[self._at]):
            for name, array in arrays.items():
                if name not in self.batch.arrays and name not in self._draws:
                    array[...] = given.get(name, 0)

    def step(self, x: NDArray[Any], y: NDArray[Any], index: NDArray[Any], draws: Draws) -> float:
        """One step on the samples at these positions; their mean loss.

        Raises:
            Exception: of ONNX Runtime, if they do not fit the model.
        """
        self.batch.take(x, y, index)
        _draw(self._draws, self._fixed, self.batch, draws)
        if "step" in self._fixed:
            self._fixed["step"] += 1
        self._runs[self._at]()
        self._at = 1 - self._at
        return float(self._loss)

    def value(self, name: str) -> NDArray[Any]:
        """What a step changes, such as `"parameters"`, as it is now: valid until the next step."""
        return self._places[self._at].get(name, np.empty(0, np.float32))


@final
class Measures:
    """Measurements of a model.

    Args:
        content: of a graph that evaluates.
        signature: of it.
        threads: that it may use.
    """

    def __init__(self, content: bytes, signature: Signature, threads: int) -> None:
        self._batch, self._draws = Batch(signature), signature.draws
        self._values = {n: zeros(p) for n, p in signature.inputs.items() if n not in self._batch.arrays}
        self._found = {name: zeros(port) for name, port in signature.outputs.items()}
        self._rows = signature.rows
        self._run = Session(content, signature, threads).bind(
            {**self._batch.arrays, **self._values}, self._found
        )

    def __call__(
        self, model: Model, x: NDArray[Any], y: NDArray[Any], draws: Draws
    ) -> Iterator[tuple[slice, Mapping[str, NDArray[Any]]]]:
        """What the graph gives for each batch, valid until the next one, and which samples are in it.

        Raises:
            Exception: of ONNX Runtime, if they do not fit the model.
        """
        for name in _VECTORS:
            if name in self._values:
                self._values[name][...] = getattr(model, name)
        for first in range(0, len(x), self._rows):
            part = slice(first, min(first + self._rows, len(x)))
            self._batch.take(x, y, np.arange(part.start, part.stop))
            _draw(self._draws, self._values, self._batch, draws)
            self._run()
            yield part, self._found


def _draw(ports: Mapping[str, Port], into: Mapping[str, NDArray[Any]], batch: Batch, draws: Draws) -> None:
    for name, port in ports.items():
        assert port.probability is not None
        kept = draws.mask(
            port.shape, port.probability, axis=port.axis, rows=batch.rows, samples=batch.samples
        )
        np.copyto(into[name], kept)


def totals(signature: Signature) -> dict[str, float]:
    """A zero for the loss and for each metric of a graph that evaluates."""
    metrics = [name.removeprefix(SUM) for name in signature.outputs if name.startswith(SUM)]
    return dict.fromkeys(["loss", *metrics], 0.0)
