"""The interface of an attack, and what a compromised client knows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hedgerow.types import Samples, Vector

Rows: TypeAlias = NDArray[np.float32]
"""Deltas, `(clients, d) float32`, one per row."""


@dataclass(frozen=True)
class Knowledge:
    """What a compromised client knows when it makes up its delta.

    Attributes:
        delta: what it has learned, `(d,) float32`.
        random: its own generator for this round.
        compromised: `most -> deltas`: what the first `most` compromised clients, by name, would
            have learned honestly in this round, whether they were asked or not.
    """

    delta: Vector
    random: np.random.Generator
    compromised: Callable[[int], Rows]


def _learned(known: Knowledge) -> Vector:
    return known.delta


def _unchanged(samples: Samples) -> Samples:
    return samples


@dataclass(frozen=True)
class Attack:
    """What a compromised client does to its data, and to its delta before it is encoded.

    Attributes:
        name: as written in a configuration.
        samples: what it trains on, instead of its own samples.
        delta: what it sends, `(d,) float32`, instead of what it has learned.
    """

    name: str
    samples: Callable[[Samples], Samples] = _unchanged
    delta: Callable[[Knowledge], Vector] = _learned
