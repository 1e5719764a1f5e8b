"""What recurrent layers do at one time, forward and backward, as torch defines it.

What all times have in common is computed for all at once before the loop or after it: in here is only what
depends on the time before, or in a backward pass on the time after.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Both = tuple[list[Tensor], list[Tensor]]

Cell = Callable[[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]], Both]
"""`(inputs, states, constants) -> (next states, outputs)`: one step of a loop.

Inputs are `(n, ...)`, those of this step; so are outputs, and states, which are as many before and after.
Each of the `n` rows is computed alone.
"""


def gru(inputs: Sequence[Tensor], states: Sequence[Tensor], constants: Sequence[Tensor]) -> Both:
    """`r, z = s(a + u)`, `n = tanh(a_n + r * u_n)`, `h' = (1 - z) * n + z * h`, with `u = h W + b`.

    Gives the states, `r`, `z`, `n` and `u_n`.
    """
    (a,), (h,), (w, b) = inputs, states, constants
    a_r, a_z, a_n = a.chunk(3, 1)
    u_r, u_z, u_n = torch.addmm(b, h, w).chunk(3, 1)
    r, z = torch.sigmoid(a_r + u_r), torch.sigmoid(a_z + u_z)
    n = torch.tanh(a_n + r * u_n)
    after = n + z * (h - n)
    return [after], [after, r, z, n, u_n]


def gru_backward(inputs: Sequence[Tensor], states: Sequence[Tensor], constants: Sequence[Tensor]) -> Both:
    """From the gradient of the state, those of `u` and `a_n`."""
    (g, of_r, of_z, of_n, r, z), (dh,), (w,) = inputs, states, constants
    dh = dh + g
    dn = dh * of_n
    du = torch.cat([dn * of_r, dh * of_z, dn * r], 1)
    return [torch.addmm(dh * z, du, w)], [du, dn]


def lstm(inputs: Sequence[Tensor], states: Sequence[Tensor], constants: Sequence[Tensor]) -> Both:
    """`i, f, g, o = a + h W`, `c' = s(f) * c + s(i) * tanh(g)`, `h' = s(o) * tanh(c')`.

    Gives the states, the cells, the gates as they act, and `tanh(c')`.
    """
    (a,), (h, c), (w,) = inputs, states, constants
    gates = torch.addmm(a, h, w).chunk(4, 1)
    i, f, g, o = (torch.tanh(x) if place == 2 else torch.sigmoid(x) for place, x in enumerate(gates))
    cells = f * c + i * g
    squashed = torch.tanh(cells)
    after = o * squashed
    return [after, cells], [after, cells, i, f, g, o, squashed]


def lstm_backward(inputs: Sequence[Tensor], states: Sequence[Tensor], constants: Sequence[Tensor]) -> Both:
    """From the gradients of the state and the cells, those of all gates."""
    (g_h, g_c, of_i, of_f, of_g, of_o, of_c, f), (dh, dc), (w,) = inputs, states, constants
    dh = dh + g_h
    dc = dc + g_c + dh * of_c
    da = torch.cat([dc * of_i, dc * of_f, dc * of_g, dh * of_o], 1)
    return [da @ w, dc * f], [da]


def rnn_tanh(inputs: Sequence[Tensor], states: Sequence[Tensor], constants: Sequence[Tensor]) -> Both:
    """`h' = tanh(a + h W)`."""
    (a,), (h,), (w,) = inputs, states, constants
    after = torch.tanh(torch.addmm(a, h, w))
    return [after], [after]


def rnn_relu(inputs: Sequence[Tensor], states: Sequence[Tensor], constants: Sequence[Tensor]) -> Both:
    """`h' = relu(a + h W)`."""
    (a,), (h,), (w,) = inputs, states, constants
    after = torch.relu(torch.addmm(a, h, w))
    return [after], [after]


def rnn_backward(inputs: Sequence[Tensor], states: Sequence[Tensor], constants: Sequence[Tensor]) -> Both:
    """From the gradient of the state, that of `a`."""
    (g, of_a), (dh,), (w,) = inputs, states, constants
    da = (dh + g) * of_a
    return [da @ w], [da]


CELLS: dict[str, Cell] = {
    each.__name__: each for each in (gru, gru_backward, lstm, lstm_backward, rnn_tanh, rnn_relu, rnn_backward)
}
"""By name."""
