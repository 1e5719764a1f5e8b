"""The loss of each client's batch."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hedgerow.client.cohort.ops.products import LINE
from hedgerow.client.cohort.step import Step
from hedgerow.client.torch.loss import check_classes

Losses = Callable[[Step, Any, Tensor], Tensor]
"""(step, outputs, targets) -> `(clients,)`, the mean over each client's samples."""


def losses_of(loss: Callable[[Any, Any], Any] | None) -> Losses:
    """The losses of many clients, from the loss of one; `None` is cross entropy."""
    if loss is None:
        return _cross_entropy
    return lambda step, outputs, targets: _own(loss, step, outputs, targets)


_FEW = 32
"""Number of classes up to which torch computes the softmax value by value, without vector registers."""


def _cross_entropy(step: Step, outputs: Tensor, targets: Tensor) -> Tensor:
    scores, classes = outputs.flatten(0, 1), targets.flatten(0, 1)
    check_classes(scores, classes)
    if scores.dim() == 2 and scores.shape[1] <= _FEW and classes.dim() == 1:
        each: Tensor = _FewClasses.apply(scores, classes)  # type: ignore[no-untyped-call]
    else:
        each = F.cross_entropy(scores, classes, reduction="none")
    if step.full:
        return each.view(len(outputs), -1).mean(1)
    each = each.view(len(outputs), step.rows, -1).mean(2)
    return (each * step.mask()).sum(1) / step.counts.clamp(min=1)


class _FewClasses(torch.autograd.Function):
    """`F.cross_entropy(scores, classes, reduction="none")`, computed for all rows of a class at once."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, classes: Tensor) -> Tensor:
        # Elementwise functions give a value the same bits as long as pairs of vector registers are full.
        number, rows = scores.shape[1], -(-len(scores) // (2 * LINE)) * 2 * LINE
        by_class = scores.new_zeros(number, rows)
        by_class[:, : len(scores)] = scores.T
        ctx.chosen = classes.unsqueeze(0)
        ctx.logs = torch.log_softmax(by_class, 0)
        each: Tensor = ctx.logs.gather(0, ctx.chosen).squeeze(0).neg_()
        return each

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        changes = ctx.logs.exp()[:, : len(gradient)]
        changes.scatter_add_(0, ctx.chosen, changes.new_full((1, 1), -1.0).expand_as(ctx.chosen))
        return changes.mul_(gradient).T.contiguous(), None


def _own(loss: Callable[[Any, Any], Any], step: Step, outputs: Tensor, targets: Tensor) -> Tensor:
    """A user's loss, given the same as in the loop: the samples without padding."""
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
