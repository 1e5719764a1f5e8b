"""What is learned, flattened: vectors of trainable parameters, of buffers, and of constants."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.wording import shown

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
class Unsent:
    """A buffer that a module saves but no message contains, such as BatchNorm's batch counter.

    Attributes:
        name: of the buffer.
        kind: numpy dtype of its numbers: `"<i8"`, `"|b1"`.
        shape: of the buffer.
        data: its initial values, in C order.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    data: bytes

    @property
    def values(self) -> NDArray[Any]:
        """The values, read-only.

        >>> Unsent("batches", "<i8", (), bytes(8)).values
        array(0)
        """
        return np.frombuffer(self.data, self.kind).reshape(self.shape)


@checks.arguments
@dataclass(frozen=True)
class Layout:
    """Where each tensor is in a model's vectors.

    `parameters` are the trainable tensors, each once even if a model ties two
    names to one tensor. `buffers` are the tensors that training changes without a
    gradient (BatchNorm's statistics), which are averaged. `constants` are those
    that it does not change (frozen parameters, a mask): the server sends them, and
    no client sends them back. Integer buffers (BatchNorm's batch counter) are in
    none of these: they are never sent. `norms` names the tensors that belong to
    norm layers.

    The rest of a saved model does not affect what is sent, and is not in the
    fingerprint: `unsent`, the other buffers that the module saves, and `ties`,
    `(second name, first name)` of tensors with two names.
    """

    parameters: tuple[Tensor, ...]
    buffers: tuple[Tensor, ...] = ()
    constants: tuple[Tensor, ...] = ()
    norms: tuple[str, ...] = ()
    unsent: tuple[Unsent, ...] = ()
    ties: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name in ("parameters", "buffers", "constants"):
            tensors = getattr(self, name)
            checks.kind((tuple, list), " of Tensor(name, shape)", **{name: tensors})
            for tensor in tensors:
                checks.kind(
                    Tensor,
                    f", as each of {name} is, such as Tensor('weight', (2, 3))",
                    **{f"one of {name}": tensor},
                )
            object.__setattr__(self, name, tuple(tensors))
        checks.texts(norms=self.norms)
        checks.kind((tuple, list), " of Unsent buffers", unsent=self.unsent)
        checks.kind((tuple, list), " of pairs of names", ties=self.ties)

    @cached_property
    def dimension(self) -> int:
        """Number of trainable values, `d`."""
        return sum(t.size for t in self.parameters)

    @cached_property
    def buffer_size(self) -> int:
        """Number of buffer values, `b`."""
        return sum(t.size for t in self.buffers)

    @cached_property
    def constant_size(self) -> int:
        """Number of constant values, `c`."""
        return sum(t.size for t in self.constants)

    @cached_property
    def untrained(self) -> tuple[Tensor, ...]:
        """The buffers, followed by the constants."""
        return (*self.buffers, *self.constants)

    @cached_property
    def fingerprint(self) -> str:
        """A hash, 16 hex digits, that two layouts share only if they are equal."""
        text = f"{len(self.parameters)} {[(t.name, t.shape) for t in (*self.parameters, *self.buffers)]}"
        if self.constants:
            text += f" {[(t.name, t.shape) for t in self.constants]}"
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def select(self, wanted: Callable[[str], bool]) -> "Layout":
        """The layout of those tensors whose names are wanted, in the same order; without `unsent` and `ties`.

        >>> layout = Layout((Tensor("body", (2,)), Tensor("head", (1,))))
        >>> layout.select(lambda name: name != "head").dimension
        2
        """

        def chosen(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(t for t in tensors if wanted(t.name))

        norms = tuple(name for name in self.norms if wanted(name))
        return Layout(chosen(self.parameters), chosen(self.buffers), chosen(self.constants), norms)

    def slices(self) -> tuple[slice, ...]:
        """The slice of each parameter tensor in the vector, in order."""
        ends = np.cumsum([0, *(t.size for t in self.parameters)]).tolist()
        return tuple(slice(a, b) for a, b in pairwise(ends))

    @classmethod
    def flat(cls, dimension: int) -> "Layout":
        """A layout of one tensor, for a vector without structure.

        >>> Layout.flat(3).dimension
        3
        """
        return cls((Tensor("vector", (dimension,)),))


def hash_constants(constants: Vector) -> str:
    """A hash of a model's constants, `(c,) float32`: 64 hex digits, equal only for equal bits.

    >>> hash_constants(np.zeros(2, np.float32))[:12]
    'af5570f5a181'
    """
    return hashlib.sha256(np.ascontiguousarray(constants, "<f4").data).hexdigest()


@dataclass(frozen=True)
class Model:
    """The values of a model.

    Attributes:
        parameters: `(d,) float32`; other numbers and torch tensors are converted.
        buffers: `(b,) float32`, empty for most models.
        constants: `(c,) float32`, empty for most models; a run never changes
            them. They need not be finite (a mask of `-inf`).

    Raises:
        ValueError: one of them is not a vector of numbers.
    """

    parameters: Vector
    buffers: Vector = field(default_factory=lambda: np.empty(0, np.float32))
    constants: Vector = field(default_factory=lambda: np.empty(0, np.float32))

    def __post_init__(self) -> None:
        for name in ("parameters", "buffers", "constants"):
            values = getattr(self, name)
            if type(values) is not np.ndarray or values.dtype != np.float32 or values.ndim != 1:
                object.__setattr__(self, name, _vector(name, values))

    @property
    def untrained(self) -> Vector:
        """The buffers, followed by the constants, `(b + c,) float32`."""
        return np.concatenate([self.buffers, self.constants])


def _vector(name: str, values: Any) -> Vector:
    found = checks.array(**{name: values})
    if found.ndim != 1 or found.dtype.kind not in "iuf":
        raise ValueError(
            f"{name} is {shown(values)}; it must be a vector of float32, `(n,)`: flatten and join the"
            " tensors in the order of the Layout"
        )
    with np.errstate(over="ignore"):
        vector: Vector = found.astype(np.float32)
    return vector
