"""What a graph's model draws, such as dropout."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hedgerow.client.onnx.steps import Fill
from hedgerow.rng import generator


def drawing(seed: int, *, round: int = 0, client: str = "") -> Fill:
    """Draws the zeros and ones of one client in one round."""
    random = generator(seed, "dropout", round=round, client=client)

    def fill(into: NDArray[Any], probability: float) -> None:
        np.copyto(into, random.random(into.shape) < probability)

    return fill
