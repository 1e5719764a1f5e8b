"""What looks at a whole batch, of which only some rows are samples."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from hedgerow.export.errors import CannotExport


class MaskedNorms(TorchFunctionMode):
    """BatchNorm over the rows of a mask, while this is entered.

    Of a single sample it uses the running statistics, and leaves them as they are.

    Args:
        mask: `(n,) bool`, which rows are samples.
    """

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self._mask = mask

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Every function of torch, in here."""
        if func is F.batch_norm:
            return self._batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _batch_norm(
        self, x: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
        weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False,
        momentum: float = 0.1, eps: float = 1e-5,
    ) -> Tensor:  # fmt: skip
        shape = [1, x.shape[1], *[1] * (x.dim() - 2)]
        if not training:
            assert running_mean is not None
            assert running_var is not None
            mean, var = running_mean, running_var
        else:
            mean, var = self._statistics(x, running_mean, running_var, momentum)
        found = (x - mean.view(shape)) * (var.view(shape) + eps).rsqrt()
        if weight is not None:
            found = found * weight.view(shape)
        return found if bias is None else found + bias.view(shape)

    def _statistics(
        self, x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, momentum: float
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance to normalise by; the running ones are moved towards the batch's."""
        rows = self._mask.view(-1, *[1] * (x.dim() - 1))
        over = [0, *range(2, x.dim())]
        kept = torch.where(rows, x, 0)
        samples = self._mask.sum().to(x.dtype)
        count = samples * (x[0, 0].numel())
        mean = kept.sum(over) / count
        moved = torch.where(rows, x - mean.view(1, -1, *[1] * (x.dim() - 2)), 0)
        var = (moved * moved).sum(over) / count
        if running_mean is None or running_var is None:
            return mean, var
        alone = samples == 1
        unbiased = var * (count / (count - 1).clamp(min=1))
        before = running_mean.clone(), running_var.clone()
        for running, seen in ((running_mean, mean), (running_var, unbiased)):
            running.copy_(torch.where(alone, running, (1 - momentum) * running + momentum * seen.detach()))
        return torch.where(alone, before[0], mean), torch.where(alone, before[1], var)


def mean_over(each: Tensor, mask: Tensor) -> Tensor:
    """The mean of the samples' values `(n,)`, over the rows of a mask."""
    return torch.where(mask, each, 0).sum() / mask.sum()


def of_each(loss: Any, outputs: Any, y: Tensor) -> Tensor:
    """The loss of each sample alone, `(n,)`."""

    def one(outputs: Any, y: Tensor) -> Tensor:
        alone = torch.utils._pytree.tree_map(lambda t: t.unsqueeze(0), outputs)
        found: Tensor = loss(alone, y.unsqueeze(0))
        return found

    try:
        found: Tensor = torch.vmap(one)(outputs, y)
    except RuntimeError as error:
        first = str(error).strip().partition("\n")[0]
        raise CannotExport(f"the loss cannot be written as a graph, a sample at a time: {first}") from error
    return found
