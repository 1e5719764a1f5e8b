"""Batches of one size, of which some rows are samples."""

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from hedgerow.client.onnx.session import zeros
from hedgerow.graphs.signature import Signature


@final
class Batch:
    """The arrays of a graph's batch: `x`, `y`, and the mask of the rows that are samples; others are zeros.

    Args:
        signature: of the graph.
    """

    def __init__(self, signature: Signature) -> None:
        self.arrays = {name: zeros(signature.inputs[name]) for name in ("x", "y", "mask")}
        self.rows = signature.rows
        self.samples = 0
        """How many rows are samples: the first ones."""

    def take(self, x: NDArray[Any], y: NDArray[Any], index: NDArray[Any]) -> None:
        """Take the samples at these positions."""
        number = len(index)
        for name, given in (("x", x), ("y", y)):
            # `clip` lets numpy write without a copy between; no position is out of range.
            np.take(given, index, axis=0, out=self.arrays[name][:number], mode="clip")
        if number != self.samples:
            for name, rest in (("x", 0), ("y", 0), ("mask", False)):
                self.arrays[name][number:] = rest
            self.arrays["mask"][:number] = True
            self.samples = number
