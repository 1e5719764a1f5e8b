"""Per-sample gradients, layer by layer, from one pass over the whole batch.

A layer's inputs, and the loss's gradient at its outputs, give the gradient of its
parameters for each sample. For a linear layer that is an outer product, which is
never written out (arXiv:1510.01799): its norm costs two short norms, and a weighted
sum over the samples is one matrix product. The backward pass computes no parameter
gradients, and leaves nothing on the module.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from hedgerow.client.torch.module import FlatModule
from hedgerow.client.torch.samples import Loss

Rule = Callable[[Any, list[Tensor], Tensor], Mapping[nn.Parameter, Tensor]]
"""`(layer, [inputs], gradients of outputs) -> {parameter: (n, *shape)}`, samples first, as Opacus has it."""


class CannotSplit(Exception):
    """The model's layers do not allow per-sample gradients; the message says why."""


@final
@dataclass(frozen=True)
class Part:
    """The gradients of one parameter of `size` values, for each of `n` samples.

    Attributes:
        start: where the parameter begins in the flat vector.
        left: `(n, o)`, and the gradient is `left[i] x right[i]`; `None`: it is `right[i]`.
        right: `(n, p)`.
    """

    start: int
    left: Tensor | None
    right: Tensor

    @property
    def place(self) -> slice:
        """Where the parameter lies in the flat vector."""
        size = self.right.shape[1] * (1 if self.left is None else self.left.shape[1])
        return slice(self.start, self.start + size)


@dataclass(frozen=True)
class _Call:
    """One use of a layer."""

    inputs: Tensor
    version: int
    edge: GradientEdge
    shape: torch.Size
    """The shape of the outputs."""


@final
class Layers:
    """A model's layers with parameters, and how to get per-sample gradients from each.

    Args:
        net: the module.
        loss: `(outputs, targets) -> scalar`, the mean over a batch.
        rules: for types of layers other than `nn.Linear`.
        linear: types of layers that compute what `nn.Linear` does.
        renaming: types of modules that only rename the parameters of layers in them.

    Raises:
        CannotSplit: a layer has none of these types; the error names it.
    """

    def __init__(
        self,
        net: FlatModule,
        loss: Loss,
        rules: Mapping[type, Rule],
        linear: Sequence[type] = (nn.Linear,),
        renaming: Sequence[type] = (),
    ) -> None:
        self._net, self._loss, self._rules, self._linear = net, loss, rules, tuple(linear)
        self._starts: dict[int, int] = {}
        for p in net.parameters:
            self._starts[id(p)] = sum(q.numel() for q in net.parameters[: len(self._starts)])
        trained = {
            name: module
            for name, module in net.module.named_modules()
            if type(module) not in renaming
            and any(id(p) in self._starts for p in module.parameters(recurse=False))
        }
        for name, module in trained.items():
            if type(module) not in (*self._linear, *rules):
                raise CannotSplit(f"there is no rule for {name or 'the model'!r}, {type(module).__name__}")
        owned = [id(p) for module in trained.values() for p in module.parameters(recurse=False)]
        if len(set(owned)) != len(owned):
            raise CannotSplit("layers share a parameter, so a gradient's norm does not follow from its parts")
        self._names = {module: name for name, module in trained.items()}
        self._axes: dict[str, int] = {}
        self.written = 0
        """Number of values in a sample's gradients that are written out."""

    @property
    def kinds(self) -> frozenset[str]:
        """Names of the types of layers that are trained."""
        return frozenset(type(module).__name__ for module in self._names)

    @property
    def linear(self) -> int:
        """Number of trainable parameters in linear layers."""
        owners = [module for module in self._names if type(module) in self._linear]
        return sum(p.numel() for m in owners for p in m.parameters() if self._trained(p))

    @property
    def dimension(self) -> int:
        """Number of trainable parameters of the model."""
        return len(self._net.vector)

    def take_axes(self, other: "Layers") -> None:
        """Take over the result of `find_axes` for the same model with other parameters."""
        self._axes, self.written = other._axes, other.written

    def find_axes(self, few: tuple[Tensor, Tensor], more: tuple[Tensor, Tensor]) -> None:
        """Find the dimension that counts samples, from two batches of different lengths.

        Raises:
            CannotSplit: a layer has no such dimension.
        """
        found: dict[str, set[int]] = {}
        for x, y in (few, more):
            for module, calls in self._run(x, y)[1].items():
                for call in calls:
                    pairs = enumerate(zip(call.inputs.shape, call.shape, strict=False))
                    axes = {k for k, pair in pairs if pair == (len(x), len(x))}
                    name = self._names[module]
                    found[name] = found.get(name, axes) & axes
        for name, axes in found.items():
            if len(axes) != 1:
                raise CannotSplit(f"layer {name!r} does not have its samples one after another")
        self._axes = {name: axes.pop() for name, axes in found.items()}
        parts = self.split(*few)[1]
        self.written = sum(part.right.shape[1] for part in parts if part.left is None)

    def split(self, x: Tensor, y: Tensor) -> tuple[Tensor, list[Part]]:
        """The loss of each sample, `(n,)`, and the parts of the gradients; without a part, they are zero.

        Raises:
            CannotSplit: per-sample gradients cannot be computed.
        """
        losses, calls = self._run(x, y)
        edges = [call.edge for several in calls.values() for call in several]
        found = iter(torch.autograd.grad(losses.sum(), edges, allow_unused=True))
        parts: list[Part] = []
        for module, several in calls.items():
            gradients = [next(found) for _ in several]
            if any(call.inputs._version != call.version for call in several):
                raise CannotSplit(f"the inputs of {self._names[module]!r} are overwritten")
            pairs = [(c.inputs, b) for c, b in zip(several, gradients, strict=True) if b is not None]
            if pairs:
                parts += self._parts(module, pairs, len(x))
        if not parts:
            raise CannotSplit("the loss depends on no layer's output")
        return losses.detach(), parts

    def _run(self, x: Tensor, y: Tensor) -> tuple[Tensor, dict[nn.Module, list[_Call]]]:
        """The losses, and the calls of each layer."""
        calls: dict[nn.Module, list[_Call]] = {}

        def note(module: nn.Module, given: tuple[Any, ...], outputs: Any) -> None:
            if len(given) != 1 or not isinstance(given[0], Tensor) or not isinstance(outputs, Tensor):
                raise CannotSplit(f"{self._names[module]!r} takes or returns something other than one tensor")
            inputs = given[0].detach()
            call = _Call(inputs, inputs._version, get_gradient_edge(outputs), outputs.shape)
            calls.setdefault(module, []).append(call)

        hooks = [module.register_forward_hook(note) for module in self._names]
        try:
            outputs = self._net.module(x)
        finally:
            for hook in hooks:
                hook.remove()

        if not isinstance(outputs, Tensor):
            raise CannotSplit(f"the model returns a {type(outputs).__name__}, not a tensor")

        def one(output: Tensor, target: Tensor) -> Tensor:
            return self._loss(output.unsqueeze(0), target.unsqueeze(0))

        with warnings.catch_warnings():
            # If warnings are errors, this one must not decide which method is used.
            warnings.filterwarnings("ignore", "There is a performance drop")
            return torch.vmap(one)(outputs, y), calls

    def _parts(self, module: nn.Module, pairs: list[tuple[Tensor, Tensor]], n: int) -> list[Part]:
        axis = self._axes.get(self._names[module], 0)
        moved = [(a.movedim(axis, 0), b.movedim(axis, 0)) for a, b in pairs]
        if any(len(a) != n or len(b) != n for a, b in moved):
            raise CannotSplit(f"{self._names[module]!r} does not have its samples one after another")
        if type(module) in self._linear:
            return list(self._of_linear(module, moved, n))
        totals: dict[nn.Parameter, Tensor] = {}
        for a, b in moved:
            for p, g in self._rules[type(module)](module, [a], b).items():
                totals[p] = totals[p] + g if p in totals else g
        return [Part(self._starts[id(p)], None, g.flatten(1)) for p, g in totals.items() if self._trained(p)]

    def _of_linear(self, module: Any, pairs: list[tuple[Tensor, Tensor]], n: int) -> Iterator[Part]:
        rows = [(a.reshape(n, -1, a.shape[-1]), b.reshape(n, -1, b.shape[-1])) for a, b in pairs]
        a, b = (torch.cat(each, 1) if len(each) > 1 else each[0] for each in zip(*rows, strict=True))
        if self._trained(module.weight):
            start = self._starts[id(module.weight)]
            if a.shape[1] == 1:
                yield Part(start, b[:, 0], a[:, 0])
            else:
                yield Part(start, None, torch.bmm(b.mT, a).flatten(1))
        if module.bias is not None and self._trained(module.bias):
            yield Part(self._starts[id(module.bias)], None, b.sum(1))

    def _trained(self, p: nn.Parameter) -> bool:
        return id(p) in self._starts
