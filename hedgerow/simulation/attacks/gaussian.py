"""An attack that sends noise."""

from functools import partial

import numpy as np

from hedgerow import checks
from hedgerow.simulation.attacks.base import Attack, Knowledge
from hedgerow.types import Vector


def gaussian(scale: float = 20.0) -> Attack:
    """Gaussian noise instead of the delta (Blanchard et al. 2017, arXiv:1703.02757, section 6).

    Args:
        scale: its standard deviation, as a multiple of the delta's root mean square.

    Raises:
        ValueError: `scale` is not above 0.

    >>> learned = np.ones(10_000, np.float32)
    >>> known = Knowledge(learned, np.random.default_rng(0), lambda most: np.empty((0, 1)))
    >>> round(float(gaussian(3.0).delta(known).std()))
    3
    """
    checks.positive(scale=scale)
    return Attack(f"gaussian({scale})", delta=partial(_delta, scale))


def _delta(scale: float, known: Knowledge) -> Vector:
    size = np.sqrt(np.mean(known.delta.astype(np.float64) ** 2))
    noise: Vector = known.random.normal(0.0, scale * size, len(known.delta)).astype(np.float32)
    return noise
