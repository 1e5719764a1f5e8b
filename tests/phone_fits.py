"""Fits by graphs as `web/tests/graph_cases.ts` reads them, and what this client's trainer finds."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hedgerow.client.onnx.trainer import OnnxTrainer
from hedgerow.graphs.bundle import Graphs
from hedgerow.graphs.offer import Offer, packed
from hedgerow.types import Fit, LocalTraining, Model, Samples

WHO: dict[str, Any] = {"seed": 3, "round": 2, "client": "a"}


@dataclass(frozen=True)
class PhoneFit:
    """One fit.

    Attributes:
        graphs: by which it trains.
        correction: added to every gradient, or `None`.
    """

    graphs: Graphs
    model: Model
    data: Samples
    local: LocalTraining
    correction: NDArray[np.float32] | None = None

    @cached_property
    def trainer(self) -> OnnxTrainer:
        """On ONNX Runtime, with one thread."""
        return OnnxTrainer(self.graphs)

    def fit(self) -> Fit:
        """What is found here."""
        more = {} if self.correction is None else {"correction": self.correction}
        return self.trainer.fit(self.model, self.data, self.local, **WHO, **more)

    def evaluated(self) -> dict[str, float]:
        """The model that it starts from."""
        return self.trainer.evaluate(self.model, self.data)

    def told(self) -> dict[str, Any]:
        """All that a phone needs for it."""
        vectors = {name: array(getattr(self.model, name)) for name in ("parameters", "buffers", "constants")}
        return {
            "graphs": packed(self.graphs).hex(),
            "offer": Offer.of(self.graphs).to_json(),
            "model": vectors,
            "samples": {
                "inputs": array(self.data.x), "targets": array(self.data.y),
                "shape": self.data.x.shape[1:], "targetShape": self.data.y.shape[1:],
            },
            "local": asdict(self.local),
            "correction": None if self.correction is None else array(self.correction),
            "where": WHO,
        }  # fmt: skip


def array(values: NDArray[Any]) -> dict[str, str]:
    """An array as the vectors have it."""
    return {"dtype": values.dtype.name, "hex": np.ascontiguousarray(values).tobytes().hex()}
