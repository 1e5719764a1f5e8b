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
        self._brought: dict[int, Vector] = {}
        self._views: dict[int, dict[str, Tensor]] = {}

    def bring(self, rows: Sequence[int]) -> None:
        """Copy rows from a GPU at once; `gather` takes each from there."""
        if self._in_memory is None:
            self._brought = dict(zip(rows, self.values[list(rows)].cpu().numpy(), strict=True))

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

        For tensors that are not stored here, the vector is uninitialised. On a GPU, `bring` it first.
        """
        if not self._size:
            return _NO_VALUES
        vector: Vector = torch.empty(self._size).numpy()  # torch's memory starts on a cache line
        memory = self._in_memory
        values = self._brought.pop(row) if memory is None else memory[row]
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
