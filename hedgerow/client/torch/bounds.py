"""Whether a client's indices and classes are within the bounds of a model, asked on the CPU.

On the CPU one out of bounds is an error of this client. On a GPU it is an assertion in a kernel, after which
nothing computes there until the process ends: one client would end the run of all.
"""

import logging
from collections.abc import Callable
from functools import cached_property
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hedgerow.client.torch.device import CPU
from hedgerow.client.torch.explained import OF_USERS, explained
from hedgerow.client.torch.samples import Loss
from hedgerow.client.torch.settings import num_threads, seeded
from hedgerow.types import Samples

log = logging.getLogger("hedgerow")

_AT_ONCE = 256


@final
class Bounds:
    """Looks at the values of samples, and runs a model of its own on those that may be out of bounds.

    Args:
        build: makes the model.
        loss: of the model, on the CPU.
    """

    def __init__(self, build: Callable[[], nn.Module], loss: Loss) -> None:
        self._build, self._loss = build, loss
        self._classes: dict[tuple[int, ...], int] = {}

    def check(self, data: Samples, who: str) -> None:
        """Raise `ValueError`, which tells nothing of the samples, if the model fails on their values."""
        if data.x.dtype.kind == "f" and data.y.dtype.kind == "f":
            return
        with num_threads(1), seeded(0, CPU), torch.no_grad():
            try:
                whole = data.x.dtype.kind == "f" or _within(data.x, self._table)
                if whole and (data.y.dtype.kind == "f" or _within(data.y, self._scores(data.x))):
                    return
                for first in range(0, len(data), _AT_ONCE):
                    x, y = (torch.from_numpy(v[first : first + _AT_ONCE].copy()) for v in (data.x, data.y))
                    self._loss(self._module(x), y)
            except OF_USERS as error:
                log.error(
                    "%s", explained(error, who, *(torch.from_numpy(v.copy()) for v in (data.x, data.y)))
                )
                raise ValueError(
                    f"{who}: the model or its loss fails on the samples or their targets, such as an index or"
                    " a class out of bounds; why is in this client's own log"
                ) from None

    @cached_property
    def _module(self) -> nn.Module:
        return self._build().to(CPU).eval()

    @cached_property
    def _table(self) -> int:
        """Rows of the smallest table that samples may index; 0 if how they are used is not known."""
        tables = [m for m in self._module.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)]
        return min((m.num_embeddings for m in tables), default=0)

    def _scores(self, x: NDArray[Any]) -> int:
        """Number of classes that the model tells apart; 0 if its outputs are not scores."""
        form = x.shape[1:]
        if form not in self._classes:
            outputs = self._module(torch.from_numpy(x[:1].copy()))
            scores = isinstance(outputs, torch.Tensor) and outputs.dim() > 1
            self._classes[form] = outputs.shape[1] if scores else 0
        return self._classes[form]


def _within(values: NDArray[Any], bound: int) -> bool:
    return bool(np.minimum.reduce(values, axis=None) >= 0 and np.maximum.reduce(values, axis=None) < bound)
