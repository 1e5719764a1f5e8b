"""A linear layer on the data themselves, without weights: from products of the samples.

What plain SGD makes of such a layer lies in the span of its samples,
`W = W0 + sum_i a_i x_i^T`, where `a_i` is what the gradients at sample `i` have
added up to. So `x_j W^T = x_j W0^T + sum_i (x_j . x_i) a_i`: with the products of
a client's samples in hand, a step takes a few small matrices and leaves the
weights alone, which are written once, at the end. It is the dual form of the
perceptron (Aizerman et al. 1964), and computes what SGD on the weights does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hedgerow.client.cohort.products import LINE, product
from hedgerow.client.cohort.stack import Room
from hedgerow.types import LocalTraining, Samples

_SMALL = 2**14
"""Weights that a core keeps at hand anyway."""

_MOST_ROWS = 512
"""Of one client: the products are as many as its square."""


@dataclass(frozen=True)
class FirstLayer:
    """Where a model's first layer is: names of its tensors, and their sizes.

    Attributes:
        weight: `(outputs, inputs)`.
        bias: `(outputs,)`, where it has one.
        flattens: whether samples of more than one dimension are made vectors before.
    """

    weight: str
    bias: str | None
    inputs: int
    outputs: int
    flattens: bool = True

    @property
    def shape(self) -> tuple[int, int]:
        """Of the weight."""
        return self.outputs, self.inputs

    def rows(self, data: Samples, local: LocalTraining) -> int:
        """Rows that a client's samples take here, with one to spare; 0 where weights are better.

        Training must be `plain`.

        It depends on the client alone, so that its bits do not depend on who else is there.

        >>> layer = FirstLayer("0.weight", "0.bias", 784, 200)
        >>> def samples(n):
        ...     return Samples(np.zeros((n, 784), np.float32), np.zeros(n, np.int64))
        >>> [layer.rows(samples(n), LocalTraining()) for n in (50, 150, 600)]
        [64, 160, 0]
        """
        weights, n = self.inputs * self.outputs, len(data)
        rows = (n // LINE + 1) * LINE
        # Of multiplications, beside those of two products with the weights, which both ways need.
        more = n * (self.inputs + local.epochs * self.outputs)
        small = weights < _SMALL or rows > _MOST_ROWS or more > 2 * local.epochs * weights
        if small or data.x.dtype != np.float32:
            return 0
        return rows if self.flattens or data.x.ndim == 2 else 0


class Products:
    """The first layer of the clients in a batch.

    Args:
        layer: where it is.
        weight: what it starts from, `(outputs, inputs)`.
        slots: clients at once.
        rows: of each client, from `FirstLayer.rows`.
        learning_rate: of the round.
        room: memory, which belongs to this as long as it is used.
    """

    def __init__(
        self, layer: FirstLayer, weight: Tensor, slots: int, rows: int, learning_rate: float, room: Room
    ) -> None:
        self.layer, self._rows, self.learning_rate = layer, rows, learning_rate
        device = weight.device

        def take(key: str, columns: int) -> Tensor:
            return room.take(f"first {key}", (slots, rows, columns), torch.float32, device)

        self._weight = room.take("first weight", weight.shape, torch.float32, device).copy_(weight)
        self._x = list(take("samples", -(-layer.inputs // LINE) * LINE).unbind())
        self._at_start, self._gram = take("outputs", layer.outputs), take("products", rows)
        self._added = take("changes", layer.outputs)
        self._samples = [0] * slots

    def clear(self, slot: int) -> None:
        """Make a slot that belongs to no client compute finite numbers."""
        for state in (self._at_start, self._gram, self._added):
            state[slot].zero_()

    def load(self, slot: int, data: Samples) -> None:
        """Begin with a client."""
        n = self._samples[slot] = len(data)
        x = self._x[slot][:n, : self.layer.inputs]
        x.copy_(torch.from_numpy(np.require(data.x, requirements="W").reshape(n, -1)))
        self.clear(slot)
        torch.mm(x, self._weight.mT, out=self._at_start[slot, :n])
        torch.mm(x, x.mT, out=self._gram[slot, :n, :n])

    def move(self, source: int, target: int) -> None:
        """Put one client in the place of another."""
        for state in (self._at_start, self._gram, self._added):
            state[target] = state[source]
        self._samples[target] = self._samples[source]
        self._x[target], self._x[source] = self._x[source], self._x[target]

    def change(self, slot: int, out: Tensor) -> None:
        """What a client has changed of the weight, `(outputs, inputs)`."""
        n = self._samples[slot]
        torch.mm(self._added[slot, :n].mT, self._x[slot][:n, : self.layer.inputs], out=out)

    def at(self, indices: Sequence[NDArray[Any]], width: int, batch_rows: int) -> "FirstStep":
        """The samples of a step: positions in each client's data; what fills them up is the spare row."""
        index = np.full((width, batch_rows), self._rows - 1)
        for slot, mine in enumerate(indices):
            index[slot, : len(mine)] = mine
        index += np.arange(width)[:, None] * self._rows
        return FirstStep(self, torch.from_numpy(index.ravel()).to(self._weight.device), width)

    def outputs(self, index: Tensor, width: int) -> Tensor:
        """What the layer gives for these rows, without the bias: `(width, batch rows, outputs)`."""
        before = self._at_start.flatten(0, 1).index_select(0, index).view(width, -1, self.layer.outputs)
        gram = self._gram.flatten(0, 1).index_select(0, index).view(width, -1, self._rows)
        return product(gram, self._added[:width], before)

    def learn(self, index: Tensor, gradient: Tensor) -> None:
        """Make a step: no row but a spare one, whose gradient is zero, is there twice."""
        added = self._added.flatten(0, 1)
        step = gradient.reshape(-1, self.layer.outputs)
        added[index] = added.index_select(0, index).add_(step, alpha=-self.learning_rate)


@dataclass(frozen=True)
class FirstStep:
    """The first layer for the samples of one step.

    Attributes:
        products: of the clients.
        index: rows of them.
        width: clients.
        anchor: what autograd has to find a gradient for, so that it comes here.
    """

    products: Products
    index: Tensor
    width: int
    anchor: Tensor = field(default_factory=lambda: torch.zeros((), requires_grad=True))

    def __call__(self, bias: Tensor | None) -> Tensor:
        """Outputs `(width, batch rows, outputs)`; the backward pass makes the step, also of the bias."""
        y: Tensor = _First.apply(self.anchor, bias, self)  # type: ignore[no-untyped-call]
        return y


class _First(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, anchor: Tensor, bias: Tensor | None, batch: FirstStep) -> Tensor:
        ctx.bias, ctx.batch = bias, batch
        y = batch.products.outputs(batch.index, batch.width)
        return y if bias is None else y + bias.unsqueeze(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        batch, bias = ctx.batch, ctx.bias
        batch.products.learn(batch.index, gradient)
        if bias is not None:
            bias.add_(gradient.sum(1), alpha=-batch.products.learning_rate)
        return None, None, None


def plain(local: LocalTraining) -> bool:
    """Whether a step takes the gradients as they are, times the learning rate."""
    usual = LocalTraining()
    return local == replace(
        usual,
        learning_rate=local.learning_rate,
        learning_rate_decay=local.learning_rate_decay,
        epochs=local.epochs,
        batch_size=local.batch_size,
    )
