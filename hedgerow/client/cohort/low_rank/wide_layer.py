"""A wide linear layer, without a copy of the weights for each client.

As for a first layer (`first_layer.py`), plain SGD turns it into
`W = W0 + sum_i a_i x_i^T`, with the vectors `x_i` that went through it and their
accumulated gradients `a_i`. So `x W^T = x W0^T + (x X^T) A`, and for its gradient
`g W = g W0 + (g A^T) X`: all clients are multiplied by the same `W0`, which a core
reads once, and each by its own small `X` and `A`. A client's weights are written
once, at the end, whereas an ordinary step reads and writes them three times.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hedgerow.client.cohort.finite import product_norm
from hedgerow.client.cohort.ops.products import LINE, aligned, product
from hedgerow.client.cohort.stack import Workspace
from hedgerow.types import LocalTraining

_FEWEST, _MOST = 16, 191
"""Range of rows for which torch's CPU library computes a product in the same way. If another library has
other bounds, `Choice.min_batch` finds that bits differ."""

_WIDE = 2**18
"""Number of weights that no longer fits a core's cache: 1 MiB."""


@dataclass(frozen=True)
class WideLayer:
    """A linear layer: the names of its tensors, and its sizes.

    Attributes:
        weight: `(outputs, inputs)`.
        bias: `(outputs,)`, if it has one.
        vectors: number that go through it for each sample.
    """

    weight: str
    bias: str | None
    inputs: int
    outputs: int
    vectors: int

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the weight, `(outputs, inputs)`."""
        return self.outputs, self.inputs

    def kept(self, samples: int, rows: int, local: LocalTraining) -> int:
        """Vectors to keep for a client with `samples` samples, trained in batches of `rows` rows.

        0 if weights are faster. Training must be `plain`. Depends only on the
        client, so that its bits do not depend on who it is trained with; and is
        rounded up, so that many sizes make few groups.

        >>> layer = WideLayer("fc.weight", "fc.bias", 1024, 512, 1)
        >>> [layer.kept(n, 10, LocalTraining()) for n in (50, 130, 600)]
        [56, 160, 0]
        """
        weights, sizes = self.inputs * self.outputs, self.inputs + self.outputs
        if weights < _WIDE or self.inputs % LINE or self.outputs % LINE:
            return 0
        each = rows * self.vectors
        vectors = local.steps(samples) * each
        # So that products of a batch with the kept vectors end on a cache line.
        unit = max(LINE // math.gcd(LINE, each), 1 << max(0, (vectors - 1).bit_length() - 3))
        vectors = -(-vectors // unit) * unit
        # Multiplications, apart from those with the weights.
        return vectors if 2 * vectors * sizes <= weights else 0


class LowRankUpdates:
    """A wide layer of the clients in a batch.

    Args:
        layer: its names and sizes.
        weight: what it starts from, `(outputs, inputs)`.
        slots: clients at once.
        kept: number of vectors of each client, from `WideLayer.kept`.
        learning_rate: of the round.
        workspace: memory, owned by this object while it is in use.
    """

    def __init__(
        self,
        layer: WideLayer,
        weight: Tensor,
        slots: int,
        kept: int,
        learning_rate: float,
        workspace: Workspace,
    ) -> None:
        self.layer, self._learning_rate, self._kept = layer, learning_rate, kept

        def take(key: str, *shape: int) -> Tensor:
            return workspace.take(f"{key} of {layer.weight}", shape, torch.float32, weight.device)

        self._weight = take("start", layer.outputs, layer.inputs).copy_(weight)
        self._x, self._a = (
            take("inputs", slots, kept, layer.inputs),
            take("changes", slots, kept, layer.outputs),
        )
        self._at = np.zeros(slots, np.int64)
        self.asked = weight.new_zeros(()).requires_grad_()
        """A dummy input that requires a gradient, so that autograd runs this layer's backward pass."""

    def begin(self, slot: int) -> None:
        """Start a client in a slot, or leave the slot empty."""
        # The inputs too: values that are not finite would remain when multiplied by zeros.
        self._x[slot].zero_()
        self._a[slot].zero_()
        self._at[slot] = 0

    def move(self, source: int, target: int) -> None:
        """Move the client of one slot to another."""
        for state in (self._x, self._a, self._at):
            state[target] = state[source]

    def change(self, slot: int, out: Tensor) -> None:
        """Write a client's change of the weight, `(outputs, inputs)`."""
        torch.mm(self._a[slot].mT, self._x[slot], out=out)

    def largest(self, clients: int) -> Tensor:
        """See `Product`."""
        x = torch.linalg.vector_norm(self._x[:clients], dim=(1, 2))
        return product_norm(self._a[:clients], x)

    def __call__(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """`(clients, ..., inputs) -> (clients, ..., outputs)`; the backward pass takes the step."""
        flat = x.reshape(len(x), -1, x.shape[-1])
        y: Tensor = _Through.apply(flat, self.asked, bias, self)  # type: ignore[no-untyped-call]
        return y.view(*x.shape[:-1], self.layer.outputs)

    def outputs(self, x: Tensor) -> Tensor:
        """The outputs without the bias, `(clients, n, outputs)`."""
        return self._both(x, self._weight.mT, self._x, self._a)

    def back(self, gradient: Tensor) -> Tensor:
        """The gradient of the inputs, `(clients, n, inputs)`."""
        return self._both(gradient, self._weight, self._a, self._x)

    def learn(self, x: Tensor, gradient: Tensor, bias: Tensor | None) -> None:
        """Take a step."""
        clients, n = gradient.shape[:2]
        index = torch.from_numpy(self._rows(clients, n)).to(x.device)
        self._x.flatten(0, 1).index_copy_(0, index, x.flatten(0, 1))
        self._a.flatten(0, 1).index_copy_(0, index, (gradient * -self._learning_rate).flatten(0, 1))
        if bias is not None:
            bias.add_(gradient.sum(1), alpha=-self._learning_rate)

    def _rows(self, clients: int, n: int) -> NDArray[np.int64]:
        """The rows where this step's vectors are kept; for slots without a client they wrap around."""
        at = self._at[:clients]
        index = (np.arange(clients) * self._kept + at)[:, None] + np.arange(n)
        at += n
        at[at + n > self._kept] = 0
        return index.ravel()

    @staticmethod
    def _both(rows: Tensor, start: Tensor, one: Tensor, other: Tensor) -> Tensor:
        clients = len(rows)
        rows = aligned(rows)
        found = _times_start(rows, start)
        return found.baddbmm_(product(rows, one[:clients].mT), other[:clients])


def _times_start(rows: Tensor, start: Tensor) -> Tensor:
    """`(clients, n, k)` times `(k, m)`, with the same bits for a client however many there are.

    Libraries compute products of few rows, and of very many, differently from the
    rest. So clients are multiplied together in chunks that stay within those bounds.
    """
    clients, n, _ = rows.shape
    together = max(1, _MOST // n)
    found = rows.new_empty(clients, n, start.shape[1])
    for part, out in zip(torch.split(rows, together), torch.split(found, together), strict=True):
        flat = part.flatten(0, 1)
        if len(flat) < _FEWEST:
            out.copy_(torch.mm(F.pad(flat, (0, 0, 0, _FEWEST - len(flat))), start)[: len(flat)].view_as(out))
        else:
            torch.mm(flat, start, out=out.flatten(0, 1))
    return found


class _Through(torch.autograd.Function):
    """The layer as an autograd function, whose backward pass takes the step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, asked: Tensor, bias: Tensor | None, changes: LowRankUpdates) -> Tensor:
        ctx.x, ctx.bias, ctx.changes = x, bias, changes
        y = changes.outputs(x)
        return y if bias is None else y.add_(bias.unsqueeze(1))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        changes: LowRankUpdates = ctx.changes
        gx = changes.back(gradient) if ctx.needs_input_grad[0] else None
        changes.learn(ctx.x, gradient, ctx.bias)
        return gx, None, None, None
