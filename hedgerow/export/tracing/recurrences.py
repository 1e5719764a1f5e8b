"""The recurrent part of a layer in one direction, as a loop forward and one backward.

Of all of them: `a (time, n, k * units)` comes from the inputs, `h (n, units)` are the states before the first
time, and `w (k * units, units)` the recurrent weights, as torch has them. With `backwards`, the last time is
first. What is returned begins with the states `(time, n, units)`; the rest is for the backward pass.
"""

from typing import Any

import torch
from torch import Tensor

from hedgerow.export.tracing.loop import loop


class Gru(torch.autograd.Function):
    """A GRU, with biases `b (3 * units,)` of its own in `u = h W + b`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, h: Tensor, w: Tensor, b: Tensor, backwards: bool) -> tuple[Tensor, ...]:
        """States, and what the cell gives besides."""
        return tuple(_run("gru", [a], [h], [w.t().contiguous(), b], backwards)[1:])

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """What the backward pass needs."""
        _, h, w, _, ctx.backwards = inputs
        ctx.save_for_backward(h, w, *output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Of all arguments."""
        h, w, states, r, z, n, u_n = ctx.saved_tensors
        before = _before(h, states, ctx.backwards)
        of_n = (1 - z) * (1 - n * n)
        inputs = [gradients[0], u_n * r * (1 - r), (before - n) * z * (1 - z), of_n, r, z]
        of_h, du, dn = _run("gru_backward", inputs, [torch.zeros_like(h)], [w], not ctx.backwards)
        da = torch.cat([du[..., : 2 * w.shape[1]], dn], -1)
        return da, of_h, _of_weights(du, before), du.sum((0, 1)), None


class Lstm(torch.autograd.Function):
    """An LSTM, with cells `c (n, units)` before the first time; cells `(time, n, units)` come second."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, h: Tensor, c: Tensor, w: Tensor, backwards: bool) -> tuple[Tensor, ...]:
        """States, cells, and what the cell gives besides."""
        return tuple(_run("lstm", [a], [h, c], [w.t().contiguous()], backwards)[2:])

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """What the backward pass needs."""
        _, h, c, w, ctx.backwards = inputs
        ctx.save_for_backward(h, c, w, *output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Of all arguments."""
        h, c, w, states, cells, i, f, g, o, squashed = ctx.saved_tensors
        of_gates = [g * i * (1 - i), _before(c, cells, ctx.backwards) * f * (1 - f), i * (1 - g * g)]
        inputs = [*gradients[:2], *of_gates, squashed * o * (1 - o), o * (1 - squashed * squashed), f]
        zeros = [torch.zeros_like(h), torch.zeros_like(c)]
        of_h, of_c, da = _run("lstm_backward", inputs, zeros, [w], not ctx.backwards)
        return da, of_h, of_c, _of_weights(da, _before(h, states, ctx.backwards)), None


class Rnn(torch.autograd.Function):
    """A plain layer, by the name of its cell, `"rnn_tanh"` or `"rnn_relu"`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, h: Tensor, w: Tensor, cell: str, backwards: bool) -> Tensor:
        """States."""
        return _run(cell, [a], [h], [w.t().contiguous()], backwards)[1]

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        """What the backward pass needs."""
        _, h, w, ctx.cell, ctx.backwards = inputs
        ctx.save_for_backward(h, w, output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Of all arguments."""
        h, w, states = ctx.saved_tensors
        of_a = 1 - states * states if ctx.cell == "rnn_tanh" else (states > 0).to(states.dtype)
        zeros = [torch.zeros_like(h)]
        of_h, da = _run("rnn_backward", [gradients[0], of_a], zeros, [w], not ctx.backwards)
        return da, of_h, _of_weights(da, _before(h, states, ctx.backwards)), None, None


def _run(cell: str, inputs: Any, states: Any, constants: Any, backwards: bool) -> list[Tensor]:
    """A loop. `torch.func` would differentiate a backward pass again, which a loop of its own kind cannot."""
    with torch.no_grad():
        found: list[Tensor] = loop(cell, inputs, states, constants, backwards)
    return found


def _before(first: Tensor, states: Tensor, backwards: bool) -> Tensor:
    """The states that each time began with."""
    parts = [states[1:], first.unsqueeze(0)] if backwards else [first.unsqueeze(0), states[:-1]]
    return torch.cat(parts)


def _of_weights(gradient: Tensor, before: Tensor) -> Tensor:
    """One product for all times."""
    return gradient.flatten(0, 1).t() @ before.flatten(0, 1)
