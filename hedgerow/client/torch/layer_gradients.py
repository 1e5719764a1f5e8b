"""Clipped per-sample gradients, layer by layer, for models whose layers allow it."""

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from hedgerow import generators
from hedgerow.client.torch import layer_sums, settings
from hedgerow.client.torch.layers import Layers
from hedgerow.client.torch.masks import Masks
from hedgerow.client.torch.module import FlatModule
from hedgerow.client.torch.samples import SIDE_BY_SIDE, SampleGradients, rewinder

_MOST = min(512, layer_sums.AT_ONCE)
"""Most samples in one pass, so that the inputs of all layers fit in memory."""


@final
class LayerGradients:
    """Like `SampleGradients`, but from one pass over the whole batch; falls back to `otherwise`.

    Args:
        net: the module, in training mode when this is called.
        layers: of the module.
        otherwise: the fallback, for the same module.
    """

    def __init__(self, net: FlatModule, layers: Layers, otherwise: SampleGradients) -> None:
        self._net, self._layers, self._otherwise = net, layers, otherwise

    def __call__(
        self, x: Tensor, y: Tensor, largest: float, masks: Masks | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Losses and summed clipped gradients, as from `SampleGradients`."""
        out, losses, most = torch.zeros_like(self._net.vector), [], self._most
        for first in range(0, len(x), most):
            try:
                found, parts = self._layers.split(x[first : first + most], y[first : first + most])
            except Exception:  # if the data is at fault, the fallback reports it
                return self._otherwise(x, y, largest, masks)
            losses.append(found)
            layer_sums.add_to_mean(parts, largest, len(x), out)
        pieces = torch.split(out, [p.numel() for p in self._net.parameters])
        shaped = [piece.view(p.shape) for piece, p in zip(pieces, self._net.parameters, strict=True)]
        return torch.cat(losses).mean(), shaped

    def fixed_sum(self, x: Tensor, y: Tensor, largest: float, seed: Callable[[int], int]) -> Tensor:
        """Like `SampleGradients.fixed_sum`, with the same bound on what one more sample changes.

        `layer_sums` shows why the bound holds to the last bit. If anything is drawn
        after all, or the batch fails, its samples are computed one after another.
        """
        rewind = rewinder(self._net)
        total = torch.zeros(len(self._net.vector), dtype=torch.int64, device=x.device)
        most = self._most
        for first in range(0, len(x), most):
            some = slice(first, first + most)
            rewind()
            generators.mark()
            found = self._whole_sum(x[some], y[some], largest)
            if found is not None and not generators.drawn():
                total += found
                continue
            for k in range(first, min(first + most, len(x))):
                rewind()
                total += self._alone(x[k : k + 1], y[k : k + 1], largest, seed(k))
        rewind()
        return layer_sums.to_clip_units(total)

    def _whole_sum(self, x: Tensor, y: Tensor, largest: float) -> Tensor | None:
        try:
            _, parts = self._layers.split(x, y)
        except Exception:  # if the data is at fault, the fallback reports it
            return None
        return layer_sums.whole_sum(parts, largest, len(self._net.vector))

    def _alone(self, x: Tensor, y: Tensor, largest: float, seed: int) -> Tensor:
        """One sample, rounded as in a batch, so that a failure of one does not show in the others."""
        settings.seed(seed, x.device)
        found = self._whole_sum(x, y, largest)
        if found is None:
            return layer_sums.from_clip_units(self._otherwise.fixed_sum(x, y, largest, lambda place: seed))
        return found

    @property
    def _most(self) -> int:
        """Most samples in one pass."""
        return max(1, min(_MOST, SIDE_BY_SIDE // (4 * max(1, self._layers.written))))
