"""The gradient of each sample of a batch, clipped before the mean is taken."""

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, final

import torch
from torch import Tensor, nn

from hedgerow import generators
from hedgerow.client.torch import settings
from hedgerow.client.torch.masks import Masks
from hedgerow.client.torch.module import FlatModule
from hedgerow.types import Model

Loss = Callable[[Any, Tensor], Tensor]
"""`(outputs, targets) -> scalar`, the mean over a batch."""

SIDE_BY_SIDE = 2**27
"""Most floats in the gradients of a batch's samples at once: half a GiB."""

CLIP_UNITS = 2**30
"""The largest norm of a clipped gradient in units, if noise is added to it."""


@final
class SampleGradients:
    """The mean of the clipped gradients of a batch's samples (arXiv:1607.00133, algorithm 1, without noise).

    `torch.func` computes them side by side. That does not work for every model
    (such as torch's GRU), and a large batch of a large model would take too much
    memory; then samples are computed one after another, with the same result. Which
    of the two is used depends only on the model and the batch's shape.

    Args:
        net: the module, in training mode when this is called.
        loss: `(outputs, targets) -> scalar`, the mean over a batch.
    """

    def __init__(self, net: FlatModule, loss: Loss) -> None:
        self._net, self._loss = net, loss
        self._one_by_one: set[tuple[tuple[int, ...], torch.dtype]] = set()

    def __call__(
        self, x: Tensor, y: Tensor, largest: float, masks: Masks | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """The mean loss of a batch, and the mean of its samples' gradients, each at most `largest` long.

        Args:
            x: samples, `(n, ...)`.
            y: targets, `(n, ...)`.
            largest: l2 norm over all parameters.
            masks: of the step, where anything is dropped; each sample has its own.
        """
        form = tuple(x.shape[1:]), x.dtype
        if len(x) * self._net.gradient_size <= SIDE_BY_SIDE and form not in self._one_by_one:
            found = self._together(x, y, largest, masks=masks)
            if found is not None:
                return found
        found = self._apart(x, y, largest, masks)
        if len(x) * self._net.gradient_size <= SIDE_BY_SIDE:
            self._one_by_one.add(form)  # only now, because an error in the data says nothing about the model
        return found

    def fixed_sum(self, x: Tensor, y: Tensor, largest: float, seed: Callable[[int], int]) -> Tensor:
        """The exact sum of the samples' clipped gradients, in units of `largest / CLIP_UNITS`: `(d,) int64`.

        Each is truncated to whole units after clipping, so that its norm is at most
        `CLIP_UNITS` units. It depends only on the sample, its seed and the current net:
        what a pass draws, changes or keeps does not reach the next one. So one more
        sample changes the sum by one clipped gradient. If a model draws, its samples
        are computed one after another.

        Args:
            x: samples, `(n, ...)`.
            y: targets, `(n, ...)`.
            largest: l2 norm over all parameters.
            seed: `position -> seed` of what is drawn for the sample there.
        """
        rewind = rewinder(self._net)
        total = torch.zeros(len(self._net.vector), dtype=torch.float64, device=x.device)
        most = max(1, SIDE_BY_SIDE // (4 * self._net.gradient_size))  # doubles, and a copy
        for first in range(0, len(x), most):
            some, targets = x[first : first + most], y[first : first + most]
            form = tuple(x.shape[1:]), x.dtype
            rewind()
            found = None if form in self._one_by_one else self._undrawn(some, targets, largest)
            if found is not None:
                total += found
                continue
            for k in range(len(some)):
                rewind()
                settings.seed(seed(first + k), x.device)
                self._loss(self._net.module(some[k : k + 1]), targets[k : k + 1]).backward()  # type: ignore[no-untyped-call]
                total += _fixed_sum([g.unsqueeze(0) for g in self._net.take_gradients()], largest)[0]
            self._one_by_one.add(form)
        rewind()
        return total.long()

    def _undrawn(self, x: Tensor, y: Tensor, largest: float) -> Tensor | None:
        """The fixed sum; `None` if `torch.func` fails, or if anything is drawn."""
        generators.mark()
        found = self._together(x, y, largest, _fixed_sum, randomness="error")
        return None if found is None or generators.drawn() else found[1][0]

    def _together(
        self,
        x: Tensor,
        y: Tensor,
        largest: float,
        combine: Callable[[list[Tensor], float], list[Tensor]] | None = None,
        *,
        randomness: str = "different",  # draws for all samples at once, as without vmap
        masks: Masks | None = None,
    ) -> tuple[Tensor, list[Tensor]] | None:
        """Losses and gradients; `None`, with nothing changed, if `torch.func` fails."""
        x = x.contiguous()  # torch draws in memory order, which the layers' inputs inherit from x
        module = self._net.module
        names = [t.name for t in self._net.layout.parameters]
        parameters = {n: p.detach() for n, p in zip(names, self._net.parameters, strict=True)}

        def one(parameters: dict[str, Tensor], x: Tensor, y: Tensor, place: Tensor) -> Tensor:
            with masks.side_by_side(place) if masks else nullcontext():
                outputs = torch.func.functional_call(module, parameters, (x.unsqueeze(0),))
                return self._loss(outputs, y.unsqueeze(0))

        each = torch.vmap(torch.func.grad_and_value(one), in_dims=(None, 0, 0, 0), randomness=randomness)
        state, kept = generators.torch_states(), [dict(vars(m)) for m in module.modules()]
        try:
            with warnings.catch_warnings():
                # If warnings are errors, this one must not decide which method is used.
                warnings.filterwarnings("ignore", "There is a performance drop")
                gradients, losses = each(parameters, x, y, torch.arange(len(x)))
            if _unchanged(module, kept):
                return losses.mean(), (combine or _clipped_mean)([gradients[n] for n in names], largest)
        except Exception:  # if the data is at fault, the fallback reports it
            pass
        for m, attributes in zip(module.modules(), kept, strict=True):
            vars(m).clear()
            vars(m).update(attributes)
        generators.restore_torch(state)
        return None

    def _apart(
        self, x: Tensor, y: Tensor, largest: float, masks: Masks | None
    ) -> tuple[Tensor, list[Tensor]]:
        totals = [torch.zeros_like(p) for p in self._net.parameters]
        losses = []
        for k in range(len(x)):
            if masks:
                masks.alone(k)
            loss = self._loss(self._net.module(x[k : k + 1]), y[k : k + 1])
            loss.backward()  # type: ignore[no-untyped-call]
            gradients = self._net.take_gradients()
            scale = _scale(nn.utils.get_total_norm(gradients), largest)
            torch._foreach_add_(totals, torch._foreach_mul(gradients, scale))
            losses.append(loss.detach())
        torch._foreach_div_(totals, len(x))
        return torch.stack(losses).mean(), totals


def rewinder(net: FlatModule) -> Callable[[], None]:
    """A function that restores a net's current values, attributes and layers' modes."""
    now = Model(net.vector.detach().cpu().numpy().copy(), net.read_buffers(), net.read_constants())
    modes = [(module, module.training) for module in net.module.modules()]

    def rewind() -> None:
        net.load(now)
        for module, training in modes:
            module.training = training

    return rewind


def _clipped_mean(gradients: list[Tensor], largest: float) -> list[Tensor]:
    """The mean of the clipped gradients, given as `(n, *shape)` for each parameter."""
    flat = [g.flatten(1) for g in gradients]
    norms = torch.stack([torch.linalg.vector_norm(g, dim=1) for g in flat], 1).norm(dim=1)
    scale = _scale(norms, largest) / len(norms)
    return [(scale @ f).view(g.shape[1:]) for f, g in zip(flat, gradients, strict=True)]


def _fixed_sum(gradients: list[Tensor], largest: float) -> list[Tensor]:
    """The sum of clipped gradients `(n, *shape)`, whole units in float64: exact up to 2**22 samples."""
    flat = torch.cat([g.detach().flatten(1) for g in gradients], 1).double()
    norms = torch.linalg.vector_norm(flat, dim=1)
    # What is not finite counts as zero: it must neither spoil the sum nor reveal that it was there.
    finite = norms.isfinite()
    # Slightly less than the bound, to cover the norm's own rounding.
    scale = _scale(norms, largest) * ((1 - 1e-9) * CLIP_UNITS / largest)
    flat.mul_(scale.where(finite, 0.0).unsqueeze(1)).trunc_()
    return [flat.where(finite.unsqueeze(1), 0.0).sum(0)]


def _scale(norm: Tensor, largest: float) -> Tensor:
    return largest / norm.clamp(min=largest)


def _unchanged(module: nn.Module, kept: list[dict[str, Any]]) -> bool:
    """Whether the modules still have the attributes that they had, and no others."""
    return all(
        vars(m).keys() == before.keys() and all(vars(m)[n] is value for n, value in before.items())
        for m, before in zip(module.modules(), kept, strict=True)
    )
