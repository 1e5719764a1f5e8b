"""The loss of each client's batch."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hedgerow.client.cohort.step import Step

Losses = Callable[[Step, Any, Tensor], Tensor]
"""(step, outputs, targets) -> `(clients,)`, the mean over each client's samples."""


def losses_of(loss: Callable[[Any, Any], Any] | None) -> Losses:
    """The losses of many clients, from the loss of one."""
    if loss is None or loss is F.cross_entropy:
        return _cross_entropy
    return lambda step, outputs, targets: _own(loss, step, outputs, targets)


def _cross_entropy(step: Step, outputs: Tensor, targets: Tensor) -> Tensor:
    each = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(0, 1), reduction="none")
    each = each.view(len(outputs), step.rows, -1).mean(2)
    if step.full:
        return each.mean(1)
    return (each * step.mask()).sum(1) / step.counts.clamp(min=1)


def _own(loss: Callable[[Any, Any], Any], step: Step, outputs: Tensor, targets: Tensor) -> Tensor:
    """A loss that we know nothing of sees what it sees in the loop: the samples without the filling."""
    full = [k for k, n in enumerate(step.samples) if n == step.rows]
    found: list[Tensor] = [outputs.new_zeros(())] * len(step.samples)
    if full:
        together = torch.vmap(loss)(*_rows(outputs, targets, full, len(step.samples)))
        if not isinstance(together, Tensor) or together.shape != (len(full),):
            raise ValueError("the loss must give a scalar, the mean over the batch")
        for k, value in zip(full, together.unbind(), strict=True):
            found[k] = value
    for k, n in enumerate(step.samples):
        if 0 < n < step.rows:
            found[k] = loss(outputs[k, :n], targets[k, :n])
    return torch.stack(found)


def _rows(outputs: Tensor, targets: Tensor, chosen: Sequence[int], clients: int) -> tuple[Tensor, Tensor]:
    if len(chosen) == clients:
        return outputs, targets
    index = torch.tensor(chosen, device=outputs.device)
    return outputs[index], targets[index]
