"""What dropout keeps: zeros and ones that every trainer draws alike, with torch or without.

A client draws in a round from one stream, `generator(seed, "dropout", round=round, client=client)`, in the
order in which it needs them: step after step, and within a step in the order of the forward pass. A draw of
`n` values takes the next `ceil(n / 2)` 64-bit words of the stream, each as two 32-bit numbers, the lower half
first. A value is a one if its number is less than `floor(probability * 2**32)`.

Values lie sample by sample, whatever the tensor's own order of dimensions is: first all values of the
batch's first sample, with the remaining dimensions in their order. Only samples are drawn for, so that a
batch that is filled up takes from the stream what it would take without.
"""

import math
from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from hedgerow.rng import generator

_WORD, _HALF = np.dtype("<u8"), np.dtype("<u4")

Axis = int | None
"""The dimension of a draw that counts the samples; `None` where none does, as of a layer's weights."""


@final
class Draws:
    """The draws of one client in one round, one after another.

    Args:
        seed: of the run.
        round: from 1.
        client: its stable name.

    >>> draws = Draws(3, round=1, client="a")
    >>> draws.rows(2, 4, 0.5).astype(int).tolist()
    [[1, 1, 0, 1], [0, 1, 1, 0]]
    """

    def __init__(self, seed: int, *, round: int, client: str) -> None:
        self._words = generator(seed, "dropout", round=round, client=client).bit_generator.random_raw

    def rows(self, samples: int, size: int, probability: float) -> NDArray[np.bool_]:
        """The next draw, `(samples, size) bool`: each value is true with this probability, from 0 to 1."""
        count = samples * size
        words = np.asarray(self._words(-(-count // 2)), _WORD)
        limit = int(probability * 2**32)
        # One of the same dtype is compared faster; that of a certain one does not fit into it.
        drawn: NDArray[np.bool_] = words.view(_HALF)[:count] < (np.uint32(limit) if limit < 2**32 else limit)
        return drawn.reshape(samples, size)

    def mask(
        self, shape: Sequence[int], probability: float, *, axis: Axis, rows: int, samples: int
    ) -> NDArray[np.bool_]:
        """The next draw for a batch that may be filled up; all is true in the rows that are no samples.

        Args:
            shape: of the tensor.
            probability: of a one, from 0 to 1.
            axis: the dimension of the samples, of `rows` entries or a multiple of it; each sample's
                then lie together.
            rows: of the batch.
            samples: which come first in the batch.

        >>> Draws(3, round=1, client="a").mask((2, 3), 0.5, axis=1, rows=3, samples=2).astype(int).tolist()
        [[1, 0, 1], [1, 1, 1]]
        """
        if axis is None:
            return self.rows(1, math.prod(shape), probability).reshape(shape)
        drawn = self.rows(samples, math.prod(shape) // rows, probability)
        if samples < rows:
            drawn = np.concatenate([drawn, np.ones((rows - samples, drawn.shape[1]), np.bool_)])
        if axis == 0:
            return drawn.reshape(shape)
        others = [size for place, size in enumerate(shape) if place != axis]
        return np.moveaxis(drawn.reshape(shape[axis], *others), 0, axis)


def axis_of(axes: Sequence[Axis], place: int, shape: Sequence[int], rows: int) -> Axis:
    """The dimension of the samples in a step's draw.

    Args:
        axes: what is known of a step's draws.
        place: of the draw in the step, from 0.
        shape: of it, for `rows` samples. If it cannot be as known, or is not known, the first dimension
            has the samples, if its size is a multiple of their number.
    """
    known = axes[place] if place < len(axes) else 0
    if known is None or (known < len(shape) and shape[known] % rows == 0):
        return known
    return 0 if shape and shape[0] % rows == 0 else None
