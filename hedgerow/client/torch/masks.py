"""What dropout keeps in a client's training: `hedgerow.client.draws` as torch's tensors."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hedgerow.client.draws import Axis, Draws, axis_of
from hedgerow.client.torch.dropout import Dropout
from hedgerow.types import Samples


@final
class Masks:
    """The zeros and ones of one client's round, as `Dropout` takes them.

    A forward pass that is repeated in the backward pass (`torch.utils.checkpoint`) gets the same ones
    again: torch's generator is then set back, and a number from it tells one draw from another.

    One object serves all clients, one after another. Of what is set here nothing is made or tried before
    something is dropped; a step begins where there is another batch.

    Args:
        axes: finds where a step's draws have the samples, as far as it is known.
    """

    def __init__(self, axes: Callable[[Samples], Sequence[Axis]]) -> None:
        self._find_axes = axes
        self.dropout = Dropout(self)
        """Is to be entered for the forward and backward passes."""
        self.whose: tuple[Samples, int, int, str] | None = None
        """The client's samples, the run's seed, the round, and the client's name."""
        self.batch: Tensor | None = None
        """The samples of the step."""
        self._drawing: Any = None
        self._begun: Tensor | None = None
        self._samples, self._sample, self._next = 0, -1, 0
        self._drawn: dict[Any, NDArray[np.bool_]] = {}
        self._places: dict[int, int] = {}
        self._number = torch.empty((), dtype=torch.int64)

    def _begin(self) -> None:
        """Begin a step, if there is another batch."""
        if self.batch is not self._begun and self.batch is not None:
            self._begun, self._samples, self._sample = self.batch, len(self.batch), -1
            self._drawn.clear()
            self._again()

    def _client(self) -> Draws:
        """The client's draws, within a step."""
        self._begin()
        assert self.whose is not None
        if self.whose is not self._drawing:
            data, seed, round, client = self._drawing = self.whose
            self._draws = Draws(seed, round=round, client=client)
            self._axes = self._find_axes(data)
        return self._draws

    @contextmanager
    def side_by_side(self, places: Tensor) -> Iterator[None]:
        """The step's samples are computed alone, in `torch.vmap`; of `places` each has its own."""
        self._begin()
        self._again()
        self.dropout.places = places
        try:
            yield
        finally:
            self.dropout.places = None

    def alone(self, sample: int) -> None:
        """The step's samples are computed one after another, and it is this one's turn."""
        self._begin()
        self._sample = sample
        self._again()

    def whole(self, shape: Sequence[int], probability: float, like: Tensor) -> Tensor:
        """See `Source`."""
        draws = self._client()
        place, key = self._place(), (tuple(shape), probability)
        if self._sample >= 0:
            drawn = self._of_each(place, shape, probability)[self._sample]
        elif (place, *key) in self._drawn:
            drawn = self._drawn[place, *key]
        else:
            axis, rows = axis_of(self._axes, place, shape, self._samples), self._samples
            drawn = draws.mask(shape, probability, axis=axis, rows=rows, samples=rows)
            self._drawn[place, *key] = drawn
        found = torch.from_numpy(drawn.astype(np.float32)).to(like.device, like.dtype)
        if like.is_contiguous() or like.shape != found.shape:
            return found
        return torch.empty_like(like).copy_(found)  # in the same order in memory, which is faster

    def each(self, samples: int, shape: Sequence[int], probability: float, like: Tensor) -> Tensor:
        """See `Source`."""
        self._client()
        drawn = self._of_each(self._place(), shape, probability)
        return torch.from_numpy(drawn).to(like.device, like.dtype)

    def _of_each(self, place: int, shape: Sequence[int], probability: float) -> NDArray[np.bool_]:
        """A draw for each sample of the step, `(samples, *shape)`."""
        key = place, tuple(shape), probability
        if key not in self._drawn:
            drawn = self._client().rows(self._samples, math.prod(shape), probability)
            self._drawn[key] = drawn.reshape(self._samples, *shape)
        return self._drawn[key]

    def _again(self) -> None:
        """The forward pass begins."""
        self._next = 0
        self._places.clear()

    def _place(self) -> int:
        """Of the draw in the step; of one that is repeated, the place that it had."""
        number = int(self._number.random_().item())
        place = self._places.setdefault(number, self._next)
        self._next = max(self._next, place + 1)
        return place
