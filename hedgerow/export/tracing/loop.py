"""A loop over time as one operator, whose body is a function of tensors."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hedgerow.export.tracing.cells import CELLS


@torch.library.custom_op("hedgerow::loop", mutates_args=())
def loop(
    cell: str,
    inputs: Sequence[Tensor],
    states: Sequence[Tensor],
    constants: Sequence[Tensor],
    backwards: bool,
) -> list[Tensor]:
    """The states after a loop, and its outputs at every step, `(time, n, ...)`.

    Args:
        cell: name of the body.
        inputs: `(time, n, ...)`.
        states: before the first step, `(n, ...)`.
        constants: the same at every step.
        backwards: begin with the last step; the outputs lie where the inputs are.
    """
    now, found = list(states), []
    steps = range(len(inputs[0]))
    for t in reversed(steps) if backwards else steps:
        now, outputs = CELLS[cell]([each[t] for each in inputs], now, constants)
        found.append(outputs)
    ordered = found[::-1] if backwards else found
    return [*(each.clone() for each in now), *(torch.stack(each) for each in zip(*ordered, strict=True))]


@loop.register_fake
def _(
    cell: str,
    inputs: Sequence[Tensor],
    states: Sequence[Tensor],
    constants: Sequence[Tensor],
    backwards: bool,
) -> list[Tensor]:
    _, outputs = CELLS[cell]([each[0] for each in inputs], states, constants)
    time = len(inputs[0])
    return [*(s.new_empty(s.shape) for s in states), *(o.new_empty((time, *o.shape)) for o in outputs)]


@loop.register_vmap
def _(
    info: Any, in_dims: Any, cell: str, inputs: Sequence[Tensor], states: Sequence[Tensor],
    constants: Sequence[Tensor], backwards: bool,
) -> tuple[list[Tensor], list[int]]:  # fmt: skip
    """Rows are computed alone, so what is batched has more of them."""
    _, of_inputs, of_states, of_constants, _ = in_dims
    if any(dim is not None for dim in of_constants):
        raise NotImplementedError("a loop's weights for each sample")
    size = info.batch_size
    more = [_folded(each, dim, 1, size) for each, dim in zip(inputs, of_inputs, strict=True)]
    before = [_folded(each, dim, 0, size) for each, dim in zip(states, of_states, strict=True)]
    found = torch.ops.hedgerow.loop(cell, more, before, constants, backwards)
    dims = [int(place >= len(states)) for place in range(len(found))]
    unfolded = [each.unflatten(dim, (size, -1)) for each, dim in zip(found, dims, strict=True)]
    return unfolded, dims


def _folded(x: Tensor, dim: int | None, rows: int, size: int) -> Tensor:
    """A batch `(..., size * n, ...)` of tensors that have their rows in this dimension."""
    every = x.unsqueeze(rows).expand(*x.shape[:rows], size, *x.shape[rows:]) if dim is None else x
    moved = every if dim is None else x.movedim(dim, rows)
    return moved.flatten(rows, rows + 1)
