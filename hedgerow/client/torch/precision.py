"""Forward and backward passes in 16 bits, by torch's autocast; weights, sums and steps stay float32."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from hedgerow import checks
from hedgerow.types.options import PRECISIONS

_CAN = {"cpu": ("float32", "bfloat16"), "cuda": PRECISIONS, "mps": ("float32", "float16")}

_SCALES = {torch.float16: 1024.0}
"""A loss in float16 is multiplied by this, and its gradients divided, or small ones would be zero
(arXiv:1710.03740, section 3.2, a constant factor; a power of two loses no bits)."""


@dataclass(frozen=True)
class Precision:
    """The precision of forward and backward passes in training.

    Attributes:
        name: such as `"bfloat16"`.
        device: the torch device.
    """

    name: str
    device: torch.device

    @cached_property
    def full(self) -> bool:
        """Whether it is float32."""
        return self.name == "float32"

    def forward(self, module: nn.Module, x: Tensor) -> Any:
        """A model's outputs, for a loss in float32."""
        if self.full:
            return module(x)
        with torch.autocast(self.device.type, dtype=self._dtype):
            outputs = module(x)
        return outputs.to(torch.float32) if isinstance(outputs, Tensor) else outputs

    def backward(self, loss: Tensor, take: Callable[[], list[Tensor]]) -> list[Tensor]:
        """The gradients of a loss, in float32: what `take` returns after its backward pass."""
        scale = self._scale
        (loss if scale == 1.0 else loss * scale).backward()  # type: ignore[no-untyped-call]
        gradients = take()
        if scale != 1.0:
            torch._foreach_div_(gradients, scale)
        return gradients

    @cached_property
    def _dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.name)
        return dtype

    @cached_property
    def _scale(self) -> float:
        return _SCALES.get(self._dtype, 1.0)


def find_precision(name: str, device: torch.device) -> Precision:
    """The precision with this name on a device.

    Raises:
        ValueError: the device has no such precision; the error lists those that it has.

    >>> find_precision("bfloat16", torch.device("cpu")).full
    False
    """
    checks.one_of(PRECISIONS, precision=name)
    can = list(_CAN.get(device.type, ("float32",)))
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        can.remove("bfloat16")
    if name not in can:
        listed = ", ".join(repr(each) for each in can)
        raise ValueError(f"precision is {name!r}; on device {str(device)!r} it must be one of {listed}")
    return Precision(name, device)
