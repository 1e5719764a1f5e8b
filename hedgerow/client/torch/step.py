"""One step of local training, from its gradients: the order of corrections, and the optimizers."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from hedgerow.types import LocalTraining

Step = Callable[[list[Tensor]], None]
"""Updates the parameters from their gradients."""


def stepper(
    local: LocalTraining,
    learning_rate: float,
    parameters: list[Tensor],
    start: Tensor,
    correction: Tensor | None = None,
) -> Step:
    """A function that takes one step of local training; it may change the gradients it is given.

    Args:
        local: how to train.
        learning_rate: of this round.
        parameters: updated in place.
        start: their values when the round began, `(d,)`.
        correction: added to every step's gradient, `(d,)`; `None` for zeros.
    """
    move = (_sgd if local.optimizer == "sgd" else _adam)(local, learning_rate, parameters)
    anchors = _parts(start, parameters)
    corrections = None if correction is None else _parts(correction, parameters)

    def step(gradients: list[Tensor]) -> None:
        with torch.no_grad():
            if local.proximal:
                torch._foreach_add_(gradients, torch._foreach_sub(parameters, anchors), alpha=local.proximal)
            if local.clip_gradient:
                norm = nn.utils.get_total_norm(gradients)
                torch._foreach_mul_(gradients, (local.clip_gradient / (norm + 1e-6)).clamp(max=1.0))
            if local.weight_decay:
                torch._foreach_add_(gradients, parameters, alpha=local.weight_decay)
            if corrections is not None:
                torch._foreach_add_(gradients, corrections)
            move(gradients)

    return step


def _parts(vector: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    """The pieces of a vector that belong to the parameters, in their shapes."""
    parts = torch.split(vector, [p.numel() for p in parameters])
    return [part.view(p.shape) for part, p in zip(parts, parameters, strict=True)]


def _sgd(local: LocalTraining, learning_rate: float, parameters: list[Tensor]) -> Step:
    """SGD as in torch.optim: `v = momentum * v + g; w -= learning_rate * v`."""
    velocity: list[Tensor] = []

    def step(gradients: list[Tensor]) -> None:
        if local.momentum and velocity:
            torch._foreach_mul_(velocity, local.momentum)
            torch._foreach_add_(velocity, gradients)
        elif local.momentum:
            velocity.extend(gradients)
        torch._foreach_add_(parameters, velocity or gradients, alpha=-learning_rate)

    return step


def _adam(local: LocalTraining, learning_rate: float, parameters: list[Tensor]) -> Step:
    """Adam (arXiv:1412.6980, algorithm 1) with the paper's constants, as in torch.optim."""
    beta1, beta2, epsilon = 0.9, 0.999, 1e-8
    first = [torch.zeros_like(p) for p in parameters]
    second = [torch.zeros_like(p) for p in parameters]
    steps = itertools.count(1)

    def step(gradients: list[Tensor]) -> None:
        t = next(steps)
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, value=1 - beta2)
        scale = torch._foreach_sqrt(second)
        torch._foreach_div_(scale, (1 - beta2**t) ** 0.5)
        torch._foreach_add_(scale, epsilon)
        torch._foreach_addcdiv_(parameters, first, scale, value=-learning_rate / (1 - beta1**t))

    return step
