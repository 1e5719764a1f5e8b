"""One step of local training as a function of tensors: `hedgerow.client.torch.step` on flat vectors."""

from collections.abc import Mapping

import torch
from torch import Tensor

from hedgerow.types import LocalTraining


def state_names(local: LocalTraining) -> tuple[str, ...]:
    """What a step keeps for the next one, `(d,)` each and zeros at first; Adam counts its steps too."""
    if local.optimizer == "adam":
        return ("first_moment", "second_moment")
    return ("velocity",) if local.momentum else ()


def next_step(
    local: LocalTraining,
    gradient: Tensor,
    parameters: Tensor,
    learning_rate: Tensor,
    start: Tensor | None,
    correction: Tensor | None,
    state: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """The parameters after a step, and the state.

    Args:
        local: how to train.
        gradient: of the loss, `(d,)`.
        parameters: `(d,)`.
        learning_rate: of this round, `()`.
        start: what the parameters were when the round began, where `local` is proximal.
        correction: added to every step's gradient; `None` for zeros.
        state: by the names of `state_names`; of Adam also `step`, `() int64`, from 1.
    """
    if local.proximal and start is not None:
        gradient = gradient + local.proximal * (parameters - start)
    if local.clip_gradient:
        norm = torch.linalg.vector_norm(gradient)
        gradient = gradient * (local.clip_gradient / (norm + 1e-6)).clamp(max=1.0)
    if local.weight_decay:
        gradient = gradient + local.weight_decay * parameters
    if correction is not None:
        gradient = gradient + correction
    if local.optimizer == "adam":
        return _adam(gradient, parameters, learning_rate, state)
    if not local.momentum:
        return {"parameters": parameters - learning_rate * gradient}
    velocity = local.momentum * state["velocity"] + gradient
    return {"parameters": parameters - learning_rate * velocity, "velocity": velocity}


def _adam(
    gradient: Tensor, parameters: Tensor, learning_rate: Tensor, state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Adam (arXiv:1412.6980, algorithm 1) with the paper's constants."""
    beta1, beta2, epsilon = 0.9, 0.999, 1e-8
    first = state["first_moment"] + (1 - beta1) * (gradient - state["first_moment"])
    second = beta2 * state["second_moment"] + (1 - beta2) * gradient * gradient
    # In float64: of the first steps, float32 would lose most digits of 1 - beta2^t.
    t = state["step"].double()
    root = (1 - beta2**t).sqrt().to(gradient.dtype)
    rate = (learning_rate.double() / (1 - beta1**t)).to(gradient.dtype)
    moved = parameters - rate * first / (second.sqrt() / root + epsilon)
    return {"parameters": moved, "first_moment": first, "second_moment": second}
