"""The coordinate-wise median."""

from functools import partial
from typing import Any

import numpy as np

from hedgerow.strategies.aggregates.base import Aggregate
from hedgerow.strategies.aggregates.kept import Kept, Matrix, by_coordinate
from hedgerow.types import Vector


def median() -> Aggregate:
    """The median of each value over the clients (Yin et al. 2018, arXiv:1803.01498, definition 1).

    Fewer than half of the clients, whatever they send, cannot move a value
    outside the range of the others' values. All clients count the same.

    >>> rule = median()
    >>> total = rule.start(1, 3)
    >>> for client, value in {"a": 1.0, "b": 2.0, "c": 1e9}.items():
    ...     total.add(client, np.array([value], np.float32), weight=1.0)
    >>> rule.apply(total, {})[0].tolist()
    [2.0]
    """
    return Aggregate("median()", _start, linear=False, weights=False)


def _start(n: int, clients: int) -> Kept:
    return Kept(n, _combine)


def _combine(rows: Matrix) -> Vector:
    middle: Any = partial(np.median, axis=0)
    # In float64, so that the mean of the two middle values cannot overflow.
    return by_coordinate(rows, lambda part: middle(part.astype(np.float64)))
