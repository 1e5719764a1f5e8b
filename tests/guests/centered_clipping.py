"""An aggregate with a state on the server: how far each update may be from where the last ones were."""

from functools import partial

import numpy as np

from hedgerow import checks
from hedgerow.strategies.aggregates.base import Aggregate
from hedgerow.strategies.aggregates.kept import Kept
from hedgerow.types import Arrays, Vector


def centered_clipping(radius: float = 1.0) -> Aggregate:
    """The centre moves by the mean of the clipped distances to it (arXiv:2012.10333, algorithm 2)."""
    checks.positive(radius=radius)
    return Aggregate(
        f"centered_clipping({float(radius)!r})",
        start=lambda n, clients: Kept(n),
        linear=False,
        weights=False,
        init=lambda n: {"centre": np.zeros(n, np.float32)},
        apply=partial(_apply, radius),
    )


def _apply(radius: float, kept: Kept, state: Arrays) -> tuple[Vector, Arrays]:
    away = kept.rows - state["centre"].astype(np.float64)
    far = np.sqrt(np.square(away).sum(axis=1, keepdims=True))
    clipped = away * np.minimum(1.0, radius / np.maximum(far, 1e-12))
    centre = (state["centre"] + clipped.mean(axis=0)).astype(np.float32)
    return centre, {"centre": centre}
