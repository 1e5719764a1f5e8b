"""Flat vectors of several models, one row for each, with every tensor aligned."""

import itertools
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hedgerow.types import Tensor as Slot
from hedgerow.types import Vector

_AT_ONCE = 2**26
"""Most floats that are copied from a GPU at a time: 256 MiB."""

_NO_VALUES: Vector = np.empty(0, np.float32)

_ALIGNMENT = 64
"""Alignment in floats. A matrix product's last bits depend on where in a cache line (16 floats) its operands
start, and an elementwise function's on whether a value is in a last, incomplete pair of vector registers."""


class Rows:
    """Flat vectors of one layout, one for each client, with every tensor aligned.

    Args:
        tensors: the parts of a vector.
        without: names of tensors that are not stored here.
        workspace: allocates memory of a shape.
        copies: number of rows.
        channels_last: names of convolutions' weights, `(outputs, inputs, height, width)`,
            stored in the order (outputs, height, width, inputs), as torch's kernels want them.
    """

    def __init__(
        self, tensors: Sequence[Slot], without: AbstractSet[str], copies: int,
        workspace: Callable[[tuple[int, ...]], Tensor], channels_last: AbstractSet[str] = frozenset(),
    ) -> None:  # fmt: skip
        self._channels_last = channels_last
        ends = itertools.accumulate((t.size for t in tensors), initial=0)
        placed = [(t, offset) for t, offset in zip(tensors, ends, strict=False) if t.name not in without]
        self._size = sum(t.size for t in tensors)
        self._tensors, self._offsets = [t for t, _ in placed], [offset for _, offset in placed]
        self._starts = _starts(self._tensors)
        self.values = workspace((copies, self._starts[-1]))
        on_cpu = self.values.device.type == "cpu"
        self._in_memory: NDArray[np.float32] | None = self.values.numpy() if on_cpu else None
        self._views: dict[int, dict[str, Tensor]] = {}
        self._asked: list[int] = []
        self._brought: dict[int, Vector] = {}
        self._host: Tensor | None = None

    def ask(self, rows: Sequence[int]) -> None:
        """Which rows will be gathered, in this order: from a GPU, many are copied at a time."""
        self._asked, self._brought = list(rows), {}

    def _row(self, row: int) -> Vector:
        """A row's values in this process's memory, until the next call."""
        if self._in_memory is not None:
            return self._in_memory[row]
        if row not in self._brought:
            size = max(1, self.values.shape[1])
            if self._host is None:  # new pages for each round would take longer than the copying
                most = min(len(self.values), max(1, _AT_ONCE // size))
                self._host = torch.empty(most, self.values.shape[1], pin_memory=self.values.is_cuda)
            place = self._asked.index(row) if row in self._asked else 0
            some = self._asked[place : place + len(self._host)] or [row]
            copied = self._host[: len(some)].copy_(self.values[some]).numpy()
            self._brought = dict(zip(some, copied, strict=True))
        return self._brought.pop(row)

    def views(self, rows: int) -> dict[str, Tensor]:
        """The tensors of the first rows, by name: `(rows, *shape)` each, sharing memory."""
        if rows not in self._views:
            found = {}
            for t, start in zip(self._tensors, self._starts, strict=False):
                values = self.values[:rows, start : start + t.size]
                if t.name in self._channels_last:
                    outputs, inputs, height, width = t.shape
                    found[t.name] = values.view(rows, outputs, height, width, inputs).permute(0, 1, 4, 2, 3)
                else:
                    found[t.name] = values.view(rows, *t.shape)
            self._views[rows] = found
        return self._views[rows]

    def spread(self, vector: Vector) -> Tensor:
        """A vector in `Layout` order as a row, on the CPU; gaps between tensors are zero."""
        row = np.zeros(self._starts[-1], np.float32)
        for tensor, mine, theirs in self._places:
            self._lying(tensor, row[mine])[...] = vector[theirs].reshape(tensor.shape)
        return torch.from_numpy(row)

    def gather(self, row: int, minus: Tensor | None = None) -> Vector:
        """A row as a vector in `Layout` order, minus another row, which is on the CPU.

        For tensors that are not stored here, the vector is uninitialised.
        """
        if not self._size:
            return _NO_VALUES
        vector: Vector = torch.empty(self._size).numpy()  # torch's memory starts on a cache line
        values = self._row(row)
        first = None if minus is None else minus.numpy()
        for tensor, mine, theirs in self._places:
            now, out = values[mine], vector[theirs]
            then = None if first is None else first[mine]
            if tensor.name in self._channels_last:
                now, out = self._lying(tensor, now), out.reshape(tensor.shape)
                then = None if then is None else self._lying(tensor, then)
            if then is None:
                out[...] = now
            else:
                np.subtract(now, then, out=out)
        return vector

    def _lying(self, tensor: Slot, values: Vector) -> NDArray[np.float32]:
        """A tensor's values in the memory order of a row, in its shape."""
        if tensor.name not in self._channels_last:
            return values.reshape(tensor.shape)
        outputs, inputs, height, width = tensor.shape
        return values.reshape(outputs, height, width, inputs).transpose(0, 3, 1, 2)

    @cached_property
    def _places(self) -> list[tuple[Slot, slice, slice]]:
        """The position of each tensor in a row, and in a vector."""
        placed = zip(self._tensors, self._starts, self._offsets, strict=False)
        return [(t, slice(a, a + t.size), slice(b, b + t.size)) for t, a, b in placed]


def _starts(tensors: Sequence[Slot]) -> list[int]:
    """The start of each tensor, and then of the next row."""
    return [0, *itertools.accumulate(-(-t.size // _ALIGNMENT) * _ALIGNMENT for t in tensors)]
