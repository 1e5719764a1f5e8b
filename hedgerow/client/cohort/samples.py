"""Clipped per-sample gradients, for several clients side by side.

Each row of each client's batch is computed as a separate client, with a copy of
its client's parameters. The copies' gradients are those of the samples.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hedgerow.client.cohort.graph.module import BatchedModule
from hedgerow.client.cohort.ops.losses import Losses
from hedgerow.client.cohort.rows import Rows
from hedgerow.client.cohort.stack import Stack, Workspace
from hedgerow.client.cohort.step import Step
from hedgerow.client.draws import Draws
from hedgerow.types import Layout

_AT_ONCE = 2**24
"""Floats in the copies computed at once: 64 MiB, and as much again for their gradients."""


class ClippedSamples:
    """Mean losses of clients' batches, and the means of their samples' clipped gradients.

    Args:
        module: the model that is trained.
        losses: computes its losses.
        layout: of the model.
        workspace: memory.
        largest: l2 norm to which a sample's gradient is clipped.
    """

    def __init__(
        self, module: BatchedModule, losses: Losses, layout: Layout, workspace: Workspace, largest: float
    ) -> None:
        self._module, self._losses, self._layout = module, losses, layout
        self._workspace, self._largest = workspace, largest

    def __call__(
        self,
        stack: Stack,
        x: Tensor,
        y: Tensor,
        samples: Sequence[int],
        draws: Sequence[Draws | None],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses and gradients of the first clients of a stack; padding does not count.

        Returns:
            Losses `(clients,)`, and gradients by name, `(clients, *shape)` each.
        """
        width, rows = x.shape[:2]
        weights, buffers = stack.rows(width)
        means = self._rows("means", width, x.device)
        # Never a single client if there are several: its bits would differ.
        chunks = -(-width // max(3, _AT_ONCE // (rows * weights.shape[1])))
        losses = []
        for k in range(chunks):
            part = slice(width * k // chunks, width * (k + 1) // chunks)
            losses.append(
                self._some(
                    weights[part], buffers[part], x[part], y[part], samples[part], draws[part],
                    means.values[part],
                )
            )  # fmt: skip
        return torch.cat(losses), means.views(width)

    def _some(
        self,
        weights: Tensor,
        buffers: Tensor,
        x: Tensor,
        y: Tensor,
        samples: Sequence[int],
        draws: Sequence[Draws | None],
        means: Tensor,
    ) -> Tensor:
        clients, rows = x.shape[:2]
        copies = clients * rows
        parameters = {
            n: v.data.requires_grad_() for n, v in self._copied("parameters", weights, rows).items()
        }
        tensors = {**parameters, **self._copied("buffers", buffers, rows)}
        step = Step(tensors, [1] * copies, 1, draws, drawn=samples)
        outputs = self._module(step, x.reshape(copies, 1, *x.shape[2:]))
        losses = self._losses(step, outputs, y.reshape(copies, 1, *y.shape[2:]))
        found = torch.autograd.grad(losses.sum(), list(parameters.values()), allow_unused=True)
        with torch.no_grad():
            g = self._rows("of samples", copies, x.device)
            g.values.zero_()
            for view, gradient in zip(g.views(copies).values(), found, strict=True):
                if gradient is not None:
                    view.copy_(gradient)
            norms = torch.linalg.vector_norm(g.values, dim=1).view(clients, rows)
            counts = torch.tensor(samples, dtype=torch.float32, device=x.device).unsqueeze(1)
            counted = torch.arange(rows, device=x.device) < counts
            counts.clamp_(min=1)
            scale = (self._largest / norms.clamp(min=self._largest)).where(counted, 0.0) / counts
            torch.sum(g.values.mul_(scale.view(-1, 1)).view(clients, rows, -1), 1, out=means)
            return (losses.view(clients, rows) * counted).sum(1) / counts.squeeze(1)

    def _copied(self, kind: str, values: Tensor, rows: int) -> dict[str, Tensor]:
        """A copy of each client's tensors for each row, by name."""
        clients, size = values.shape
        copies = self._rows(kind, clients * rows, values.device)
        copies.values.view(clients, rows, size).copy_(values.unsqueeze(1))
        return copies.views(clients * rows)

    def _rows(self, kind: str, number: int, device: torch.device) -> Rows:
        tensors = self._layout.untrained if kind == "buffers" else self._layout.parameters

        def workspace(shape: tuple[int, ...]) -> Tensor:
            return self._workspace.take(f"samples: {kind}", shape, torch.float32, device)

        return Rows(tensors, frozenset(), number, workspace, self._module.channels_last)
