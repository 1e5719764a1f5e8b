"""GRU and LSTM layers for several clients side by side.

The time steps run one after another, for all clients at once. The gradient of
the recurrent weights is one product over all time steps, not one for each, and
so are the derivatives of the gates.
"""

from typing import Any

import torch
from torch import Tensor, nn

from hedgerow.client.cohort.ops.layers import Layer
from hedgerow.client.cohort.ops.products import LINE, aligned, linear, product
from hedgerow.client.cohort.step import Step


class _Gru(torch.autograd.Function):
    """The recurrent part of a GRU, as torch defines it.

    With `a` from the inputs and `u = W h + b`: `r = s(a_r + u_r)`,
    `z = s(a_z + u_z)`, `n = tanh(a_n + r * u_n)`, `h' = (1 - z) * n + z * h`.

    `a`, `(clients, time, batch, 3 units)`, recurrent weights `(clients, 3
    units, units)` and biases `(clients, 3 units)` give the states, `(clients,
    time, batch, units)`.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, w: Tensor, b: Tensor) -> Tensor:
        clients, time, batch, units = *a.shape[:3], w.shape[2]
        states = _workspace(a, time + 1, units).zero_()
        gates, candidates, hidden = (a.new_empty(clients, time, batch, k * units) for k in (2, 1, 1))
        for t in range(time):
            h = states[:, t]
            u = product(h, w.mT, b.unsqueeze(1))
            rz = _sigmoid(a[:, t, :, : 2 * units] + u[..., : 2 * units])
            r, z = rz.chunk(2, -1)
            u_n = u[..., 2 * units :]
            n = torch.addcmul(a[:, t, :, 2 * units :], r, u_n).tanh_()
            torch.lerp(n, h, z, out=states[:, t + 1])
            gates[:, t], candidates[:, t], hidden[:, t] = rz, n, u_n
        ctx.saved = states, gates, candidates, hidden, w
        return states[:, 1:].contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        states, gates, n, hidden, w = ctx.saved
        time, units = n.shape[1], n.shape[3]
        r, z = gates.chunk(2, -1)
        of_n = (1 - z) * (1 - n * n)
        of_z = (states[:, :-1] - n) * z * (1 - z)
        of_r = hidden * r * (1 - r)
        da_n, du = torch.empty_like(n), _workspace(gates, time, 3 * units)
        dh = torch.zeros_like(n[:, 0])
        for t in reversed(range(time)):
            dh = dh + gradient[:, t]
            dn = torch.mul(dh, of_n[:, t], out=da_n[:, t])
            torch.mul(dn, of_r[:, t], out=du[:, t, :, :units])
            torch.mul(dh, of_z[:, t], out=du[:, t, :, units : 2 * units])
            torch.mul(dn, r[:, t], out=du[:, t, :, 2 * units :])
            dh = product(du[:, t], w, dh * z[:, t])
        da = torch.cat([du[..., : 2 * units], da_n], -1)
        return da, *_weight_gradients(du, states)


class _Lstm(torch.autograd.Function):
    """The recurrent part of an LSTM, as torch defines it.

    With `a` from the inputs: `i, f, g, o = a + W h`, `c' = s(f) * c + s(i) * tanh(g)`,
    `h' = s(o) * tanh(c')`. Shapes as for the GRU, with 4 in place of 3.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, w: Tensor) -> Tensor:
        clients, time, batch, units = *a.shape[:3], w.shape[2]
        states = _workspace(a, time + 1, units).zero_()
        cells = a.new_zeros(clients, time + 1, batch, units)
        gates, squashed = (a.new_empty(clients, time, batch, k * units) for k in (4, 1))
        for t in range(time):
            u = product(states[:, t], w.mT, a[:, t])
            now = gates[:, t]
            now.copy_(_sigmoid(u))
            torch.tanh(u[..., 2 * units : 3 * units].contiguous(), out=now[..., 2 * units : 3 * units])
            i, f, g, o = now.chunk(4, -1)
            c = torch.addcmul(f * cells[:, t], i, g)
            cells[:, t + 1], squashed[:, t] = c, c.tanh()
            torch.mul(o, squashed[:, t], out=states[:, t + 1])
        ctx.saved = states, cells, gates, squashed, w
        return states[:, 1:].contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        states, cells, gates, squashed, w = ctx.saved
        time, units = squashed.shape[1], squashed.shape[3]
        i, f, g, o = gates.chunk(4, -1)
        of_o = squashed * o * (1 - o)
        of_c = o * (1 - squashed * squashed)
        of_ifg = torch.stack([g * i * (1 - i), cells[:, :-1] * f * (1 - f), i * (1 - g * g)], -2)
        da = _workspace(gates, time, 4 * units)
        dh, dc = torch.zeros_like(squashed[:, 0]), torch.zeros_like(squashed[:, 0])
        for t in reversed(range(time)):
            dh = dh + gradient[:, t]
            dc = torch.addcmul(dc, dh, of_c[:, t])
            ifg = da[:, t, :, : 3 * units].view(*dc.shape[:2], 3, units)
            torch.mul(dc.unsqueeze(-2), of_ifg[:, t], out=ifg)
            torch.mul(dh, of_o[:, t], out=da[:, t, :, 3 * units :])
            dh, dc = product(da[:, t], w), dc * f[:, t]
        return da, _weight_gradients(da, states)[0]


def _weight_gradients(du: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the recurrent weights and their biases, from the gates' `(clients, time, batch, n)`."""
    g, h = (aligned(x.flatten(1, 2)) for x in (du, states[:, :-1]))
    return product(g.mT, h), g.sum(1)


def _workspace(like: Tensor, time: int, size: int) -> Tensor:
    """`(clients, time, batch, size)`, where every `(batch, size)` starts on a cache line."""
    clients, _, batch, _ = like.shape
    workspace = like.new_empty(clients, time, -(-batch * size // LINE) * LINE)
    return workspace[..., : batch * size].view(clients, time, batch, size)


def _sigmoid(x: Tensor) -> Tensor:
    # torch's own sigmoid gives values at the end of a tensor different last bits.
    return x.mul(0.5).tanh_().mul_(0.5).add_(0.5)


def recurrent(module: nn.GRU | nn.LSTM) -> Layer | None:
    """Layers that run forward in time, from a zero state."""
    if module.bidirectional or not module.bias or module.dropout or getattr(module, "proj_size", 0):
        return None

    def layer(step: Step, names: dict[str, str], x: Tensor) -> Any:
        if x.dim() != 4:
            raise ValueError("a recurrent layer takes batches of series here")
        x = x.transpose(1, 2).contiguous() if module.batch_first else x
        last = []
        for k in range(module.num_layers):
            wi, wh, bi, bh = (step.tensors[names[f"{n}_l{k}"]] for n in _NAMES)
            if isinstance(module, nn.GRU):
                x = _Gru.apply(linear(x, wi, bi), wh, bh)  # type: ignore[no-untyped-call]
            else:
                x = _Lstm.apply(linear(x, wi, bi + bh), wh)  # type: ignore[no-untyped-call]
            last.append(x[:, -1])
        out, state = x.transpose(1, 2) if module.batch_first else x, torch.stack(last, 1)
        # The final states are not kept: a model that reads them fails here, and is trained in the loop.
        return out, state if isinstance(module, nn.GRU) else (state, None)

    return layer


_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
