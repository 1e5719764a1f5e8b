"""Clipped gradients of samples, layer by layer, where the layers let them be told apart."""

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from hedgerow import generators
from hedgerow.client.torch import layer_sums
from hedgerow.client.torch.layers import Layers
from hedgerow.client.torch.module import FlatModule
from hedgerow.client.torch.samples import SIDE_BY_SIDE, SampleGradients, rewinder

_MOST = min(512, layer_sums.AT_ONCE)


@final
class LayerGradients:
    """As `SampleGradients`, from one pass of the whole batch; what that cannot do is done by `otherwise`.

    Args:
        net: the module, in training mode when this is called.
        layers: of it.
        otherwise: of the same module.
    """

    def __init__(self, net: FlatModule, layers: Layers, otherwise: SampleGradients) -> None:
        self._net, self._layers, self._otherwise = net, layers, otherwise

    def __call__(self, x: Tensor, y: Tensor, largest: float) -> tuple[Tensor, list[Tensor]]:
        """As `SampleGradients` does."""
        if len(x) > self._most:
            return self._otherwise(x, y, largest)
        try:
            losses, parts = self._layers.split(x, y)
        except Exception:  # told by what is done instead, if it is the data's fault
            return self._otherwise(x, y, largest)
        out = torch.zeros_like(self._net.vector)
        layer_sums.mean(parts, largest, out)
        pieces = torch.split(out, [p.numel() for p in self._net.parameters])
        return losses.mean(), [
            piece.view(p.shape) for piece, p in zip(pieces, self._net.parameters, strict=True)
        ]

    def fixed_sum(self, x: Tensor, y: Tensor, largest: float, seed: Callable[[int], int]) -> Tensor:
        """As `SampleGradients.fixed_sum`, in which one sample more moves the sum by as much at most.

        Why that holds to the last bit says `layer_sums`. A model that draws has its
        samples one after another, by `otherwise`.
        """
        rewind = rewinder(self._net)
        total = torch.zeros(len(self._net.vector), dtype=torch.int64, device=x.device)
        most = self._most
        for first in range(0, len(x), most):
            rewind()
            generators.mark()
            try:
                _, parts = self._layers.split(x[first : first + most], y[first : first + most])
            except Exception:
                parts = None
            if parts is None or generators.drawn():
                rewind()
                return self._otherwise.fixed_sum(x, y, largest, seed)
            total += layer_sums.whole_sum(parts, largest, len(total))
        rewind()
        return layer_sums.on_grid(total)

    @property
    def _most(self) -> int:
        return max(1, min(_MOST, SIDE_BY_SIDE // (4 * max(1, self._layers.written))))
