"""An attack that sends the negative of what was learned."""

from functools import partial

import numpy as np

from hedgerow import checks
from hedgerow.simulation.attacks.base import Attack, Knowledge
from hedgerow.types import Vector


def sign_flip(scale: float = 5.0) -> Attack:
    """The delta times `-scale` (Li et al. 2019, arXiv:1811.03761, section 5).

    With a fraction `a` of these clients, the mean moves by about `1 - a - a scale`
    of an honest step: with 0.2 and 5, backwards.

    Raises:
        ValueError: `scale` is not above 0.

    >>> learned = np.array([1, -2], np.float32)
    >>> known = Knowledge(learned, np.random.default_rng(0), lambda most: np.empty((0, 2)))
    >>> sign_flip(2.0).delta(known).tolist()
    [-2.0, 4.0]
    """
    checks.positive(scale=scale)
    return Attack(f"sign_flip({scale})", delta=partial(_delta, scale))


def _delta(scale: float, known: Knowledge) -> Vector:
    return known.delta * np.float32(-scale)
