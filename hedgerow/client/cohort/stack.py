"""The parameters, buffers and optimizer state of several models, stacked."""

import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, TypeVar

import torch
from torch import Tensor

from hedgerow.client.cohort.rows import Rows
from hedgerow.types import Layout, LocalTraining, Model, Vector
from hedgerow.types import Tensor as Slot

T = TypeVar("T")


class Workspace:
    """Reusable memory: getting new pages for every round takes longer than filling them."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}
        self._made: dict[str, tuple[Any, Any]] = {}

    def made(self, key: str, like: Any, make: Callable[[], T]) -> T:
        """The object last made under this key, if it was made for an equal `like`; otherwise a new one."""
        if key not in self._made or self._made[key][0] != like:
            self._made[key] = like, make()
        found: T = self._made[key][1]
        return found

    def take(self, key: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """An uninitialised tensor; it becomes invalid when the same key is taken again."""
        size = math.prod(shape)
        kept = self._kept.get(key)
        if kept is None or len(kept) < size or (kept.dtype, kept.device) != (dtype, device):
            self._kept[key] = torch.empty(size, dtype=dtype, device=device)
        return self._kept[key][:size].view(shape)


class Stack:
    """Several copies of a model in training.

    Call `begin` before each round, and `reset` for each copy before each use.

    Args:
        workspace: memory, owned by the stack while it is in use.
        layout: of the model.
        copies: their number.
        local: how they are trained.
        device: the torch device.
        without: names of parameters that are stored elsewhere.
        corrected: whether each copy has its own correction, which is added
            to its gradients.
        channels_last: as in `Rows`.
    """

    def __init__(
        self,
        workspace: Workspace,
        layout: Layout,
        copies: int,
        local: LocalTraining,
        device: torch.device,
        without: AbstractSet[str] = frozenset(),
        corrected: bool = False,
        channels_last: AbstractSet[str] = frozenset(),
    ) -> None:
        def rows(key: str, tensors: Sequence[Slot]) -> Rows:
            def take(shape: tuple[int, ...]) -> Tensor:
                return workspace.take(key, shape, torch.float32, device)

            return Rows(tensors, without, copies, take, channels_last)

        self._local, self.learning_rate = local, 0.0
        self._weights, self._buffers = rows("weights", layout.parameters), rows("buffers", layout.untrained)
        self._gradients = rows("gradients", () if self.plain else layout.parameters)
        moments = 2 if local.optimizer == "adam" else 1 if local.momentum else 0
        self._moments = [rows(f"moment {i}", layout.parameters).values for i in range(moments)]
        self._corrections = rows("corrections", layout.parameters) if corrected else None
        self._steps = torch.zeros(copies, 1, dtype=torch.float64, device=device)

    def begin(self, model: Model, learning_rate: float) -> None:
        """Begin a round, with the model that every copy starts from and the step size."""
        self.learning_rate = learning_rate
        self._start = self._weights.spread(model.parameters)
        self._first_weights = self._start.to(self._weights.values.device)
        self._constants = model.constants
        self._first_buffers = self._buffers.spread(model.untrained).to(self._weights.values.device)
        self._weights.values[:] = self._first_weights
        self._buffers.values[:] = self._first_buffers
        for state in (self._gradients.values, *self._moments, self._steps):
            state.zero_()
        self._fresh = [True] * len(self._steps)

    @property
    def plain(self) -> bool:
        """Whether a step is `w = keep * w - learning_rate * g`, value by value."""
        local = self._local
        return local.optimizer == "sgd" and not (local.momentum or local.proximal or local.clip_gradient)

    @property
    def keep(self) -> float:
        """The factor by which weight decay shrinks a value in a plain step."""
        return 1 - self.learning_rate * self._local.weight_decay

    def parameters(self, width: int) -> dict[str, Tensor]:
        """The first `width` copies' parameters, `(width, *shape)` each."""
        return self._weights.views(width)

    def rows(self, width: int) -> tuple[Tensor, Tensor]:
        """The first `width` copies' parameters, and buffers with constants, as rows: `(width, ...)`."""
        return self._weights.values[:width], self._buffers.values[:width]

    def buffers(self, width: int) -> dict[str, Tensor]:
        """The first `width` copies' buffers and constants, `(width, *shape)` each."""
        return self._buffers.views(width)

    def reset(self, copy: int, correction: Vector | None = None) -> None:
        """Reset a copy to the start; no correction means zeros."""
        if not self._fresh[copy]:
            self._weights.values[copy] = self._first_weights
            self._buffers.values[copy] = self._first_buffers
            for state in (*self._moments, self._steps):
                state[copy] = 0
        self._fresh[copy] = False
        if self._corrections is not None:
            self._corrections.values[copy] = 0 if correction is None else self._corrections.spread(correction)

    def move(self, source: int, target: int) -> None:
        """Move a copy to the position of another."""
        for state in (self._weights.values, self._buffers.values, *self._moments, self._steps):
            state[target] = state[source]
        if self._corrections is not None:
            self._corrections.values[target] = self._corrections.values[source]

    def bring(self, copies: Sequence[int]) -> None:
        """Prepare for the results of these copies: on a GPU, in one transfer."""
        self._weights.bring(copies)
        self._buffers.bring(copies)

    def results(self, copy: int) -> tuple[Vector, Vector, bool]:
        """Change of a copy's parameters, `(d,)`; its buffers, `(b,)`; whether its constants are unchanged."""
        change, untrained = self._weights.gather(copy, self._start), self._buffers.gather(copy)
        if not len(self._constants):
            return change, untrained, True
        end = len(untrained) - len(self._constants)
        return change, untrained[:end].copy(), untrained[end:].tobytes() == self._constants.tobytes()

    def step(self, gradients: Mapping[str, Tensor | None], width: int) -> None:
        """One step of the first `width` copies, in the order of `TorchTrainer`.

        Args:
            gradients: by name, `(width, *shape)` each. `None` means zeros.
            width: number of copies that step.
        """
        if self.plain:
            self._plain_step(gradients, width)
            return
        local = self._local
        views = self._gradients.views(width)
        for name, gradient in gradients.items():
            if gradient is None:
                views[name].zero_()
            else:
                views[name].copy_(gradient)
        g, w = self._gradients.values[:width], self._weights.values[:width]
        if local.proximal:
            g.add_(w - self._first_weights, alpha=local.proximal)
        if local.clip_gradient:
            norm = torch.linalg.vector_norm(g, dim=1, keepdim=True)
            g.mul_((local.clip_gradient / (norm + 1e-6)).clamp_(max=1.0))
        if local.weight_decay:
            g.add_(w, alpha=local.weight_decay)
        if self._corrections is not None:
            g.add_(self._corrections.values[:width])
        if local.optimizer == "adam":
            self._adam_step(g, w, width)
        elif self._moments:
            velocity = self._moments[0][:width].mul_(local.momentum).add_(g)
            w.add_(velocity, alpha=-self.learning_rate)
        else:
            w.add_(g, alpha=-self.learning_rate)

    def _plain_step(self, gradients: Mapping[str, Tensor | None], width: int) -> None:
        weights = self._weights.views(width)
        if self.keep != 1 and gradients:  # layers that update themselves also apply weight decay
            torch._foreach_mul_([weights[name] for name in gradients], self.keep)
        used = {name: g for name, g in gradients.items() if g is not None}
        if used:
            torch._foreach_add_(
                [weights[name] for name in used], list(used.values()), alpha=-self.learning_rate
            )
        if self._corrections is not None:
            corrections = self._corrections.values[:width]
            self._weights.values[:width].add_(corrections, alpha=-self.learning_rate)

    def _adam_step(self, g: Tensor, w: Tensor, width: int) -> None:
        """As in `TorchTrainer`; the copies may be at different steps."""
        beta1, beta2, epsilon = 0.9, 0.999, 1e-8
        first, second = (m[:width] for m in self._moments)
        t = self._steps[:width].add_(1)
        first.lerp_(g, 1 - beta1)
        second.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        scale = second.sqrt().div_((1 - beta2**t).sqrt_().float()).add_(epsilon)
        w.sub_((first / scale).mul_((self.learning_rate / (1 - beta1**t)).float()))
