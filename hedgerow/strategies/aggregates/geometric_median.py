"""The geometric median, by smoothed Weiszfeld steps."""

from functools import partial

import numpy as np

from hedgerow import checks
from hedgerow.strategies.aggregates.base import Aggregate
from hedgerow.strategies.aggregates.kept import Kept, Matrix
from hedgerow.types import Vector

_TOLERANCE = 1e-10


@checks.arguments
def geometric_median(smoothing: float = 1e-6, steps: int = 100) -> Aggregate:
    """RFA: the vector with the smallest sum of distances to all updates.

    Pillutla et al. 2019 (arXiv:1912.13445, algorithm 2).

    Args:
        smoothing: lower bound on distances (the paper's nu).
        steps: maximum number of Weiszfeld steps; it stops earlier when the relative
            decrease of the objective is 1e-10 or less.

    If a fraction `a` below one half of the vectors is arbitrary, the result is
    within `2 (1 - a) / (1 - 2 a)` times the largest distance from any point to an
    honest update (Lopuhaa and Rousseeuw 1991, theorem 2.2). All clients count the
    same.

    Raises:
        ValueError: an argument is not above 0.

    >>> rule = geometric_median()
    >>> total = rule.start(1, 3)
    >>> for client, value in {"a": 1.0, "b": 2.0, "c": 1e6}.items():
    ...     total.add(client, np.array([value], np.float32), weight=1.0)
    >>> round(float(rule.apply(total, {})[0][0]), 3)
    2.0
    """
    checks.positive(smoothing=smoothing)
    checks.whole(1, steps=steps)
    given = (smoothing, steps) == (1e-6, 100)
    name = "geometric_median()" if given else f"geometric_median({smoothing}, {steps})"
    return Aggregate(name, partial(_start, smoothing, steps), linear=False, weights=False)


def _start(smoothing: float, steps: int, n: int, clients: int) -> Kept:
    return Kept(n, partial(_combine, smoothing, steps))


def _combine(smoothing: float, steps: int, rows: Matrix) -> Vector:
    points = rows.astype(np.float64)
    # Start from the coordinate-wise median, which one far vector does not move.
    found = np.median(points, axis=0)
    before = np.inf
    for _ in range(steps):
        distances = np.sqrt(((points - found) ** 2).sum(axis=1))
        objective = float(distances.sum())
        if before - objective <= _TOLERANCE * objective:
            break
        before, pull = objective, 1.0 / np.maximum(distances, smoothing)
        found = (pull[:, None] * points).sum(axis=0) / pull.sum()
    result: Vector = found.astype(np.float32)
    return result
