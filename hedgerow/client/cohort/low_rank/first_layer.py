"""A first linear layer trained without its weights, from inner products of the samples.

Plain SGD changes such a layer only in the span of its samples,
`W = W0 + sum_i a_i x_i^T`, where `a_i` is the accumulated gradient at sample `i`.
So `x_j W^T = x_j W0^T + sum_i (x_j . x_i) a_i`: given the inner products of a
client's samples, a step needs a few small matrices and does not touch the
weights, which are written once, at the end. This is the dual form of the
perceptron (Aizerman et al. 1964), and computes what SGD on the weights does.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hedgerow.client.cohort.finite import product_norm
from hedgerow.client.cohort.ops.products import LINE, product, tall
from hedgerow.client.cohort.stack import Workspace
from hedgerow.types import LocalTraining, Samples

_SMALL = 2**14
"""Number of weights that a core's cache holds anyway."""

_MOST_ROWS = 512
"""Most rows of one client: its Gram matrix has the square of that."""


@dataclass(frozen=True)
class FirstLayer:
    """A model's first layer: the names of its tensors, and its sizes.

    Attributes:
        weight: `(outputs, inputs)`.
        bias: `(outputs,)`, if it has one.
        flattens: whether samples of more than one dimension are flattened first.
    """

    weight: str
    bias: str | None
    inputs: int
    outputs: int
    flattens: bool = True

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the weight, `(outputs, inputs)`."""
        return self.outputs, self.inputs

    def rows(self, data: Samples, local: LocalTraining) -> int:
        """Rows for a client's samples here, including a spare one; 0 if weights are faster.

        Training must be `plain`.

        Depends only on the client, so that its bits do not depend on who it is trained with.

        >>> layer = FirstLayer("0.weight", "0.bias", 784, 200)
        >>> def samples(n):
        ...     return Samples(np.zeros((n, 784), np.float32), np.zeros(n, np.int64))
        >>> [layer.rows(samples(n), LocalTraining()) for n in (50, 150, 600)]
        [64, 160, 0]
        """
        weights, n = self.inputs * self.outputs, len(data)
        rows = (n // LINE + 1) * LINE
        # Multiplications, apart from the two products with the weights that both ways need.
        more = n * (self.inputs + local.epochs * self.outputs)
        small = weights < _SMALL or rows > _MOST_ROWS or more > 2 * local.epochs * weights
        if small or data.x.dtype != np.float32:
            return 0
        return rows if self.flattens or data.x.ndim == 2 else 0


class GramMatrices:
    """The first layer of the clients in a batch.

    Args:
        layer: its names and sizes.
        slots: clients at once.
        rows: of each client, from `FirstLayer.rows`.
        device: the torch device.
        workspace: memory, owned by this object while it is in use.

    Call `begin` before each round.
    """

    def __init__(
        self, layer: FirstLayer, slots: int, rows: int, device: torch.device, workspace: Workspace
    ) -> None:
        self.layer, self._rows, self._spare = layer, rows, rows - 1
        self.learning_rate = 0.0

        def take(key: str, columns: int) -> Tensor:
            return workspace.take(f"first {key}", (slots, rows, columns), torch.float32, device)

        # Transposed, so that it is read contiguously.
        self._weight = workspace.take("first weight", (layer.inputs, layer.outputs), torch.float32, device)
        self._copies = take("samples", -(-layer.inputs // LINE) * LINE)
        self._at_start, self._gram = take("outputs", layer.outputs), take("products", rows)
        self._added = take("changes", layer.outputs)
        states = self._at_start, self._gram, self._added
        self._of_slot = list(zip(*(state.unbind() for state in states), strict=True))
        self._parts: dict[tuple[int, int], tuple[Tensor, Tensor, Tensor]] = {}
        self._x: list[Tensor | None] = [None] * slots

    def begin(self, weight: Tensor, least: int, learning_rate: float) -> None:
        """Begin a round.

        Args:
            weight: what all clients start from, `(outputs, inputs)`.
            least: the smallest number of samples of a client.
            learning_rate: of the round.
        """
        self._weight.copy_(weight.T)
        self.learning_rate = learning_rate
        # Everything that a step reads before it is written: clients' rows, and the spare one.
        self._added.zero_()
        for state in (self._gram[:, :, least:], self._gram[:, self._spare], self._at_start[:, self._spare]):
            state.zero_()
        self._x = [None] * len(self._x)

    def clear(self, slot: int) -> None:
        """Make a slot that belongs to no client compute finite numbers."""
        for state in self._of_slot[slot]:
            state.zero_()
        self._x[slot] = None

    def load(self, slot: int, data: Samples) -> None:
        """Start a client; its samples must not change until it has finished."""
        n = len(data.y)
        if self._x[slot] is not None:
            self.clear(slot)
        x, given = _tensor(np.asarray(data.x).reshape(n, -1))
        if not (given and self._weight.device.type == "cpu"):
            x = self._copies[slot, :n, : self.layer.inputs].copy_(x)
        self._x[slot] = x
        at_start, gram, _ = self._part(slot, n)
        torch.mm(x, self._weight, out=at_start)
        torch.mm(x, x.mT, out=gram)

    def move(self, source: int, target: int) -> None:
        """Move the client of one slot to another."""
        for old, new in zip(self._of_slot[source], self._of_slot[target], strict=True):
            new.copy_(old)
        x = self._x[source]
        if x is not None and x.data_ptr() == self._copies[source].data_ptr():
            x = self._copies[target, : len(x), : self.layer.inputs].copy_(x)
        self._x[target] = x

    def change(self, slot: int, out: Tensor) -> None:
        """Write a client's change of the weight, `(outputs, inputs)`."""
        x = self._x[slot]
        assert x is not None
        torch.mm(self._part(slot, x.shape[0])[2], x, out=out)

    def largest(self, clients: int) -> Tensor:
        """See `Product`: the trace of `X X^T` is `|X|^2`."""
        x_squared = self._gram[:clients].diagonal(dim1=1, dim2=2).sum(1)
        return product_norm(self._added[:clients], x_squared.sqrt())

    def _part(self, slot: int, samples: int) -> tuple[Tensor, Tensor, Tensor]:
        """The rows for `samples` samples of the client in this slot; the changes as `(outputs, samples)`."""
        if (slot, samples) not in self._parts:
            at_start, gram, added = self._of_slot[slot]
            self._parts[slot, samples] = at_start[:samples], gram[:samples, :samples], added[:samples].mT
        return self._parts[slot, samples]

    def step(self, index: NDArray[np.int64], width: int, rows: int) -> "FirstStep":
        """A step on these rows, numbered across all clients; padding is the spare row."""
        return FirstStep(self, torch.from_numpy(index).to(self._weight.device), width, rows)

    def outputs(self, step: "FirstStep") -> Tensor:
        """The layer's outputs for these rows, without the bias: `(width, batch rows, outputs)`."""
        columns = self.layer.outputs
        index = step.index
        if (more := tall(step.rows, columns) - step.rows) > 0:
            index = F.pad(index.view(step.width, -1), (0, more), value=self._spare).view(-1)
        before = self._at_start.flatten(0, 1).index_select(0, index).view(step.width, -1, columns)
        gram = self._gram.flatten(0, 1).index_select(0, index).view(step.width, -1, self._rows)
        return product(gram, self._added[: step.width], before)[:, : step.rows]

    def learn(self, step: "FirstStep", gradient: Tensor) -> None:
        """Take a step. Only the spare row, whose gradient is zero, may occur twice."""
        added = self._added.flatten(0, 1)
        change = gradient.reshape(-1, self.layer.outputs)
        added[step.index] = added.index_select(0, step.index).add_(change, alpha=-self.learning_rate)


class FirstStep:
    """The first layer for the samples of one step.

    Args:
        products: the clients' Gram matrices.
        index: their rows, numbered across all clients; padding is the spare row, the last.
        width: number of clients.
        rows: in each client's batch.
    """

    def __init__(self, products: GramMatrices, index: Tensor, width: int, rows: int) -> None:
        self._products, self.index, self.width, self.rows = products, index, width, rows
        self.outputs: Tensor | None = None
        """The outputs, `(width, batch rows, outputs)`; autograd must compute their gradient."""
        self._bias: Tensor | None = None

    def __call__(self, bias: Tensor | None) -> Tensor:
        """Compute the outputs."""
        with torch.no_grad():
            y = self._products.outputs(self)
            self._bias, self.outputs = bias, y if bias is None else y.add_(bias.unsqueeze(1))
        return self.outputs.requires_grad_()

    def learn(self, gradient: Tensor) -> None:
        """Take the step, including the bias, from the gradient of the outputs."""
        self._products.learn(self, gradient)
        if self._bias is not None:
            self._bias.add_(gradient.sum(1), alpha=-self._products.learning_rate)


def _tensor(x: NDArray[Any]) -> tuple[Tensor, bool]:
    """The same memory as a tensor for reading, and whether its rows are aligned as a copy's would be.

    Alignment decides the last bits of a product.
    """
    # torch would want a copy of a read-only array.
    tensor = torch.from_numpy(x if x.flags.writeable else np.asarray(_Unlocked(x)))
    on_lines = x.shape[1] % LINE == 0 and tensor.is_contiguous() and tensor.data_ptr() % (4 * LINE) == 0
    return tensor, on_lines


class _Unlocked:
    def __init__(self, x: NDArray[Any]) -> None:
        address = x.__array_interface__
        self.__array_interface__ = {**address, "data": (address["data"][0], False)}
        self.kept = x


@lru_cache(maxsize=16)
def plain(local: LocalTraining) -> bool:
    """Whether a step subtracts the unmodified gradient times the learning rate."""
    usual = LocalTraining()
    return local == replace(
        usual,
        learning_rate=local.learning_rate,
        learning_rate_decay=local.learning_rate_decay,
        epochs=local.epochs,
        batch_size=local.batch_size,
        max_steps=local.max_steps,
        time_budget=local.time_budget,
    )
