"""The coordinate-wise trimmed mean."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.strategies.aggregates.base import Aggregate
from hedgerow.strategies.aggregates.kept import Kept, Matrix, by_coordinate
from hedgerow.types import Vector


@checks.arguments
def trimmed_mean(trim: float = 0.2) -> Aggregate:
    """The mean of each value over the clients, without the largest and the smallest ones.

    Yin et al. 2018 (arXiv:1803.01498, definition 2).

    Args:
        trim: fraction of the clients to leave out at each end, rounded up; below 0.5.

    Up to that fraction of clients, whatever they send, cannot move a value outside
    the range of the others' values. All clients count the same.

    Raises:
        ValueError: `trim` is not at least 0 and below 0.5; in a round, no client is left.

    >>> rule = trimmed_mean(0.25)
    >>> total = rule.start(1, 4)
    >>> for client, value in {"a": 1.0, "b": 2.0, "c": 4.0, "d": 1e9}.items():
    ...     total.add(client, np.array([value], np.float32), weight=1.0)
    >>> rule.apply(total, {})[0].tolist()
    [3.0]
    """
    checks.probability(trim=trim)
    if trim >= 0.5:
        raise ValueError(f"trim is {trim}; it must be below 0.5: it is left out at each of the two ends")
    return Aggregate(f"trimmed_mean({trim})", partial(_start, trim), linear=False, weights=False)


def _start(trim: float, n: int, clients: int) -> Kept:
    return Kept(n, partial(_combine, trim))


def _combine(trim: float, rows: Matrix) -> Vector:
    left_out = int(np.ceil(trim * len(rows) - 1e-9))
    if 2 * left_out >= len(rows):
        raise ValueError(
            f"trimmed_mean({trim}) leaves none of {len(rows)} clients; ask more clients, or trim less"
        )

    def combine(part: Matrix) -> NDArray[np.float64]:
        middle = np.sort(part, axis=0)[left_out : len(part) - left_out]
        found: NDArray[np.float64] = middle.astype(np.float64).mean(axis=0)
        return found

    return by_coordinate(rows, combine)
