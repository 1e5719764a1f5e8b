"""An attack that shifts each value just far enough not to stand out."""

from functools import partial

import numpy as np

from hedgerow import checks
from hedgerow.simulation.attacks.base import Attack, Knowledge
from hedgerow.types import Vector


def little_is_enough(z: float = 1.5, observed: int = 10) -> Attack:
    """A little is enough: mean minus `z` deviations (Baruch et al. 2019, arXiv:1902.06156, algorithm 3).

    All compromised clients send the same vector: the mean of the honest deltas of
    some of them, shifted by `z` standard deviations of each value. They know
    nothing else.

    Args:
        z: a larger value does more damage and is easier to detect.
        observed: number of compromised clients, asked or not, whose honest deltas give mean and
            deviation; each process that simulates clients trains them in every round.

    Raises:
        ValueError: `z` is not above 0, or `observed` is below 2.

    >>> known = Knowledge(np.ones(1), np.random.default_rng(0), lambda most: np.array([[1], [3]], np.float32))
    >>> little_is_enough(1.5).delta(known).tolist()
    [0.5]
    """
    checks.positive(z=z)
    checks.whole(2, observed=observed)
    given = (z, observed) == (1.5, 10)
    name = "little_is_enough()" if given else f"little_is_enough({z}, {observed})"
    return Attack(name, delta=partial(_delta, z, observed))


def _delta(z: float, observed: int, known: Knowledge) -> Vector:
    honest = known.compromised(observed).astype(np.float64)
    found: Vector = (honest.mean(axis=0) - z * honest.std(axis=0)).astype(np.float32)
    return found
