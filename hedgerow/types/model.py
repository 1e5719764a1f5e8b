"""What is learned, flattened: one vector of trainable parameters and one of buffers."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float32]
"""All values of a model of one kind, `(d,) float32`, in `Layout` order."""

Arrays: TypeAlias = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Tensor:
    """Name and shape of one tensor of a model."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """Which tensor lies where in a model's vectors.

    `parameters` are the trainable tensors, each once even where a model ties
    two names to one tensor. `buffers` are the floating-point
    buffers and the frozen parameters. Integer buffers (BatchNorm's batch
    counter) are in neither: they are never sent.
    """

    parameters: tuple[Tensor, ...]
    buffers: tuple[Tensor, ...] = ()

    @cached_property
    def dimension(self) -> int:
        """Number of trainable values, `d`."""
        return sum(t.size for t in self.parameters)

    @cached_property
    def buffer_size(self) -> int:
        """Number of buffer values, `b`."""
        return sum(t.size for t in self.buffers)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that two layouts share only if they are equal."""
        text = repr([(t.name, t.shape) for t in (*self.parameters, None, *self.buffers) if t is not None])
        return hashlib.blake2b(f"{len(self.parameters)} {text}".encode(), digest_size=8).hexdigest()

    def slices(self) -> tuple[slice, ...]:
        """Where each parameter tensor lies in the vector, in order."""
        ends = np.cumsum([0, *(t.size for t in self.parameters)]).tolist()
        return tuple(slice(a, b) for a, b in pairwise(ends))

    @classmethod
    def flat(cls, dimension: int) -> "Layout":
        """A layout of one tensor, for a vector without structure.

        >>> Layout.flat(3).dimension
        3
        """
        return cls((Tensor("vector", (dimension,)),))


@dataclass(frozen=True)
class Model:
    """The values of a model.

    Attributes:
        parameters: `(d,) float32`.
        buffers: `(b,) float32`, empty for most models.
    """

    parameters: Vector
    buffers: Vector = field(default_factory=lambda: np.empty(0, np.float32))
