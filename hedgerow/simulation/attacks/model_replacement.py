"""An attack that trains on wrong labels and scales the delta so that it replaces the model."""

from functools import partial

import numpy as np

from hedgerow import checks
from hedgerow.simulation.attacks.base import Attack, Knowledge
from hedgerow.simulation.attacks.label_flip import flipped
from hedgerow.types import Vector


def model_replacement(scale: float = 10.0, num_classes: int = 2) -> Attack:
    """`scale` times the delta from wrong labels (Bagdasaryan et al. 2018, arXiv:1807.00459, equation 3).

    Args:
        scale: the paper's gamma; if it equals the cohort's size, one client's model replaces the global one.
        num_classes: of the data; a recipe fills it in.

    Raises:
        ValueError: `scale` is not above 0, or `num_classes` below 2; with data, the labels are not classes.

    >>> learned = np.array([1, -2], np.float32)
    >>> known = Knowledge(learned, np.random.default_rng(0), lambda most: np.empty((0, 2)))
    >>> model_replacement(3.0).delta(known).tolist()
    [3.0, -6.0]
    """
    checks.positive(scale=scale)
    checks.whole(2, num_classes=num_classes)
    return Attack(
        f"model_replacement({scale})", samples=partial(flipped, num_classes), delta=partial(_delta, scale)
    )


def _delta(scale: float, known: Knowledge) -> Vector:
    return known.delta * np.float32(scale)
