"""Clients and their samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.wording import shown


@dataclass(frozen=True)
class Samples:
    """Samples and their targets.

    Attributes:
        x: `(n, ...)`; float32 for images and series, int64 for characters.
        y: `(n,) int64`, the class of each sample; in regression float32, the number to predict.

    Lists and torch tensors become numpy arrays; other floats become float32, and
    other signed integers int64.

    Raises:
        ValueError: one of them is not an array of numbers with a row for each sample, or the numbers of
            rows differ.

    >>> Samples([[0.5], [1.5]], [0, 1]).x.dtype
    dtype('float32')
    """

    x: NDArray[Any]
    y: NDArray[Any]

    def __post_init__(self) -> None:
        for name in ("x", "y"):
            values = getattr(self, name)
            if type(values) is np.memmap:  # must not be read here
                values = values.view(np.ndarray)
                object.__setattr__(self, name, values)
            if type(values) is not np.ndarray or values.ndim < 1 or values.dtype not in _KEPT:
                object.__setattr__(self, name, _rows(name, values))
        if len(self.x) != len(self.y):
            raise ValueError(
                f"x has {len(self.x)} rows and y has {len(self.y)}; they must have the same number"
            )

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: NDArray[Any]) -> "Samples":
        """The samples at these positions."""
        return Samples(self.x[index], self.y[index])


_KEPT = (np.dtype(np.float32), np.dtype(np.int64))


def _rows(name: str, values: Any) -> NDArray[Any]:
    found: NDArray[Any] = checks.array(**{name: values})
    if found.ndim < 1 or found.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} is {shown(values)} of type {found.dtype}; it must be numbers, one row for"
            " each sample: from_arrays(x, y) takes names of classes too"
        )
    if found.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return found.astype(np.float32)
    # Byte images stay as they are, so that the trainer decides how to scale them.
    return found.astype(np.int64) if found.dtype.kind == "i" or name == "y" else found


@dataclass(frozen=True)
class ClientNames(Sequence[str]):
    """Stable names of numbered clients, generated on access.

    They are zero-padded to equal length, so they are in sorted order.

    >>> names = ClientNames(1_000_000)
    >>> names[7], names.index("client-000123")
    ('client-000007', 123)
    """

    number: int

    def __len__(self) -> int:
        return self.number

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...
    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        if isinstance(place, slice):
            return tuple(self._name(i) for i in range(self.number)[place])
        return self._name(range(self.number)[place])

    def index(self, name: Any, start: int = 0, stop: int | None = None) -> int:
        """The client's number; raises `ValueError` if there is no such client."""
        digits = str(name).removeprefix("client-")
        place = int(digits) if digits.isdecimal() and digits.isascii() else -1
        if place not in range(self.number)[start:stop] or self._name(place) != name:
            raise ValueError(f"there is no client {name!r}; there are {self.number}, from {self[0]!r} on")
        return place

    def __contains__(self, name: object) -> bool:
        try:
            self.index(name)
        except ValueError:
            return False
        return True

    def _name(self, number: int) -> str:
        return f"client-{number:0{max(4, len(str(self.number - 1)))}d}"
