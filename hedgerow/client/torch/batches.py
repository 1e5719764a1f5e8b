"""Samples as torch tensors, in the memory format that suits the model."""

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from hedgerow.client.torch.settings import seeded
from hedgerow.types import Samples


@final
class Batches:
    """Batches of samples on a device.

    Images `(n, channels, height, width)` are in torch's channels-last memory
    format, which is faster and computes the same thing, unless the model
    cannot take it; not on an NVIDIA GPU, where it was slower (`benchmarks/gpu`).

    Args:
        build: makes the model; called once, if there are images.
        device: of the tensors.
    """

    def __init__(self, build: Callable[[], nn.Module], device: torch.device) -> None:
        self._build, self._device = build, device
        self._channels_last: bool | None = False if device.type == "cuda" else None

    def take(self, data: Samples, index: Any) -> tuple[Tensor, Tensor]:
        """The samples at these positions, and their targets."""
        if self._channels_last is None and data.x.ndim == 4:
            self._channels_last = self._takes_channels_last(data)
        # `clone` moves it into memory that torch aligns: MKL's bits depend on alignment.
        x = torch.from_numpy(data.x.take(index, axis=0)).clone().to(self._device)
        y = torch.from_numpy(data.y.take(index, axis=0)).to(self._device)
        if x.dim() == 4 and x.is_floating_point() and self._channels_last:
            x = _in_channels_last(x)
        return x, y

    def _takes_channels_last(self, data: Samples) -> bool:
        """Whether the model works in that format; `view` after a convolution fails in it.

        Tried on a separate module, so that the attempt leaves no trace.
        """
        x = torch.from_numpy(data.x[:1].copy()).to(self._device)
        module = self._build().to(self._device).eval()
        try:
            with seeded(0, self._device), torch.no_grad():
                module(_in_channels_last(x))
        except RuntimeError as error:
            return "view size is not compatible" not in str(error)
        except Exception:  # other errors are reported where they matter
            return True
        return True


def _in_channels_last(x: Tensor) -> Tensor:
    _, c, h, w = x.shape
    # The strides are spelt out because torch cannot tell the two formats apart for one channel.
    return x.permute(0, 2, 3, 1).contiguous().as_strided(x.shape, (h * w * c, 1, w * c, c))
