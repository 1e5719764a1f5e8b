"""Support for rules that need all vectors at once: they are kept until the last has arrived."""

from collections.abc import Callable
from math import inf
from typing import Self, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from hedgerow.types import PayloadError, Vector

Matrix: TypeAlias = NDArray[np.float32]
"""The clients' vectors, `(clients, n) float32`, one per row, in the order of the clients' names."""

BLOCK = 2**20
"""Number of matrix values processed at a time, which keeps additional memory small."""


def _none(rows: Matrix) -> Vector:
    raise NotImplementedError("this rule combines its rows in `apply`")


@final
class Kept:
    """Keeps each client's vector, and combines them at the end: memory is O(clients x n).

    Args:
        n: number of values that each client sends.
        combine: `(clients, n) -> (n,)`; it must not depend on the order of rows except for rounding. A
            rule whose `apply` reads `rows` itself, because it has a state, needs none.
    """

    def __init__(self, n: int, combine: Callable[[Matrix], Vector] = _none) -> None:
        self._n, self._combine = n, combine
        self._kept: dict[str, Vector] = {}

    def check(self, values: Vector, weight: float, *, norm: float = inf) -> None:
        """Raise `PayloadError` if a value is not finite or the shape is wrong."""
        if values.shape != (self._n,):
            raise PayloadError(f"it has values of shape {values.shape}; {(self._n,)} is allowed")
        if wrong := values.size - int(np.isfinite(values).sum()):
            raise PayloadError(f"{wrong} of {values.size} values are not finite")

    def add(self, client: str, values: Vector, weight: float, *, norm: float = inf) -> None:
        """Keep one client's values, ignoring their weight. Raises `PayloadError` like `check`."""
        self.check(values, weight)
        self._kept[client] = np.array(values, np.float32)

    def merge(self, other: Self) -> None:
        """Keep everything that another accumulator was given."""
        self._kept.update(other._kept)

    @property
    def rows(self) -> Matrix:
        """The clients' vectors, `(clients, n) float32`, in the order of their names."""
        kept = [self._kept[client] for client in sorted(self._kept)]
        return np.stack(kept) if kept else np.empty((0, self._n), np.float32)

    def result(self) -> Vector:
        """The aggregate `(n,) float32`.

        Raises:
            ValueError: there are too few clients for the rule.
        """
        rows = self.rows
        return self._combine(rows) if rows.size else np.zeros(self._n, np.float32)


def by_coordinate(rows: Matrix, combine: Callable[[Matrix], NDArray[np.float64]]) -> Vector:
    """Combine each column separately, processing several columns at a time.

    >>> by_coordinate(np.array([[1, 5], [3, 7]], np.float32), lambda part: part.mean(0)).tolist()
    [2.0, 6.0]
    """
    found = np.empty(rows.shape[1], np.float32)
    width = max(1, BLOCK // len(rows))
    for first in range(0, len(found), width):
        found[first : first + width] = combine(rows[:, first : first + width])
    return found


def squared_distances(rows: Matrix) -> NDArray[np.float64]:
    """Squared distances between all pairs of rows, `(clients, clients) float64`.

    >>> squared_distances(np.array([[0, 0], [3, 4]], np.float32)).tolist()
    [[0.0, 25.0], [25.0, 0.0]]
    """
    found = np.zeros((len(rows), len(rows)))
    for i in range(len(rows)):
        for j in range(i):
            difference = rows[i].astype(np.float64) - rows[j]
            found[i, j] = found[j, i] = float(difference @ difference)
    return found
