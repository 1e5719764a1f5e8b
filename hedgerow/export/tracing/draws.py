"""What a model draws, as an operator of the graph."""

import itertools
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from hedgerow.client.draws import Axis, axis_of


@torch.library.custom_op("hedgerow::draw", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def draw(like: Tensor, shape: Sequence[int], probability: float, axis: int) -> Tensor:
    """Zeros and ones of this shape, each a one with this probability; -1 is no axis."""
    return like.new_empty(shape).bernoulli_(probability)


@draw.register_fake
def _(like: Tensor, shape: Sequence[int], probability: float, axis: int) -> Tensor:
    return like.new_empty(shape)


@final
class Asked:
    """What dropout keeps is asked for, in a batch of so many rows: a `Source` for one forward pass.

    Args:
        rows: of the batch.
        axes: where the draws have the samples, as far as it is known.
    """

    def __init__(self, rows: int, axes: Sequence[Axis]) -> None:
        self._rows, self._axes, self._places = rows, axes, itertools.count()

    def whole(self, shape: Sequence[int], probability: float, like: Tensor) -> Tensor:
        """See `Source`."""
        axis = axis_of(self._axes, next(self._places), shape, self._rows)
        return _asked(shape, probability, like, axis)

    def each(self, samples: int, shape: Sequence[int], probability: float, like: Tensor) -> Tensor:
        """See `Source`."""
        return _asked([samples, *shape], probability, like, 0)


def _asked(shape: Sequence[int], probability: float, like: Tensor, axis: Axis) -> Tensor:
    # Of `like` only these, because it may be a sample's own, where all samples' draws are asked for.
    none = torch.zeros((), dtype=like.dtype, device=like.device)
    found: Tensor = torch.ops.hedgerow.draw(none, list(shape), probability, -1 if axis is None else axis)
    return found
