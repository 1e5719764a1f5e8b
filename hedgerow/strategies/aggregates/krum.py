"""Krum: the update with the closest neighbours."""

from functools import partial

import numpy as np

from hedgerow import checks
from hedgerow.strategies.aggregates.base import Aggregate
from hedgerow.strategies.aggregates.kept import Kept, Matrix, by_coordinate, squared_distances
from hedgerow.types import Vector


@checks.arguments
def krum(byzantine: float = 0.2, keep: int = 1) -> Aggregate:
    """The mean of the `keep` updates closest to their neighbours.

    Blanchard et al. 2017 (arXiv:1703.02757, section 4).

    Args:
        byzantine: fraction of the clients that may send anything, rounded up to `f`
            clients; a round needs `2 f + 3`.
        keep: number of updates that are averaged: 1 is Krum, more is multi-Krum.

    Raises:
        ValueError: `byzantine` is not at least 0 and below 0.5, or `keep` is
            below 1; in a round, there are too few clients.

    >>> rule = krum(0.2)
    >>> total = rule.start(1, 5)
    >>> for client, value in {"a": 1.0, "b": 1.1, "c": 1.3, "d": 1.2, "e": 1e9}.items():
    ...     total.add(client, np.array([value], np.float32), weight=1.0)
    >>> round(float(rule.apply(total, {})[0][0]), 1) in (1.1, 1.2)
    True
    """
    checks.probability(byzantine=byzantine)
    checks.whole(1, keep=keep)
    if byzantine >= 0.5:
        raise ValueError(f"byzantine is {byzantine}; it must be below 0.5: no rule holds against a majority")
    name = f"krum({byzantine})" if keep == 1 else f"krum({byzantine}, {keep})"
    return Aggregate(name, partial(_start, byzantine, keep), linear=False, weights=False)


def _start(byzantine: float, keep: int, n: int, clients: int) -> Kept:
    return Kept(n, partial(_combine, byzantine, keep))


def _combine(byzantine: float, keep: int, rows: Matrix) -> Vector:
    clients, bad = len(rows), int(np.ceil(byzantine * len(rows) - 1e-9))
    if clients < 2 * bad + 3 or keep > clients - bad:
        needed = max(2 * bad + 3, keep + bad)
        raise ValueError(
            f"krum needs {needed} clients if {bad} may send anything, but {clients} count; ask more"
            " clients, or lower byzantine or keep"
        )
    distances = squared_distances(rows)
    np.fill_diagonal(distances, np.inf)
    scores = np.sort(distances, axis=1)[:, : clients - bad - 2].sum(axis=1)
    # Among equal scores, take the first name: the rows are in the order of names.
    chosen = rows[np.sort(np.argsort(scores, kind="stable")[:keep])]
    return by_coordinate(chosen, lambda part: part.astype(np.float64).mean(axis=0))
