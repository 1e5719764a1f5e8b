"""Matrix products for many clients, with the same bits for a client in every slot.

A product's last bits depend on where in a cache line its operands and its
result start. So each client's matrices start on a cache line.
"""

import math
from typing import Any

import torch
from torch import Tensor

from hedgerow.client.cohort.step import Fused

LINE = 16
"""Floats in a cache line."""

_SMALL = 2**14
"""Number of weights below which one large gradient is faster than an update call for each client."""


def workspace(like: Tensor, *shape: int) -> Tensor:
    """Memory for `(clients, n, m)` matrices, each starting on a cache line."""
    clients, n, m = shape
    return like.new_empty(clients, -(-n * m // LINE) * LINE)[:, : n * m].view(clients, n, m)


def tall(rows: int, columns: int) -> int:
    """The smallest number of rows, `rows` or more, with which a matrix ends on a cache line.

    If all results of a product do, torch computes them in one call; otherwise in one
    call for each client. Extra rows are cheap, but calls for small products are not.

    >>> tall(10, 76), tall(10, 10), tall(10, 32)
    (12, 16, 10)
    """
    step = LINE // math.gcd(LINE, columns)
    return -(-rows // step) * step


def aligned(x: Tensor, rows: int = 0) -> Tensor:
    """The same matrices, `(clients, n, m)`, each starting on a cache line.

    Args:
        x: the matrices.
        rows: pad each to this number of rows, with zeros.
    """
    _, n, m = x.shape
    if rows > n:
        out = workspace(x, len(x), rows, m)
        out[:, :n].copy_(x)
        out[:, n:].zero_()
        return out
    dense = x.stride()[1:] in ((m, 1), (1, n))
    if dense and x.stride(0) % LINE == 0 and x.storage_offset() % LINE == 0:
        return x
    return x.contiguous() if n * m % LINE == 0 else workspace(x, *x.shape).copy_(x)


def product(a: Tensor, b: Tensor, plus: Tensor | None = None) -> Tensor:
    """`a b + plus`, `(clients, n, k)` times `(clients, k, m)`; `a` and `b` are `aligned`."""
    shape = len(a), a.shape[1], b.shape[2]
    if shape[1] * shape[2] % LINE == 0:
        return torch.bmm(a, b) if plus is None else torch.baddbmm(plus, a, b)
    out = workspace(a, *shape)
    return torch.bmm(a, b, out=out) if plus is None else torch.baddbmm(plus, a, b, out=out)


class _Linear(torch.autograd.Function):
    """`y = x w^T + b` for each client. With `fused`, the backward pass updates `w` and `b` in place, so that
    for a large `w` no gradient tensor is written and read."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor | None, fused: Fused | None) -> Tensor:
        n = x.shape[1]
        x = aligned(x, tall(n, w.shape[1]))
        ctx.x, ctx.w, ctx.b, ctx.fused = x[:, :n], w, b, fused
        return product(x, w.mT, None if b is None else b.unsqueeze(1))[:, :n]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, w, b, fused = ctx.x, ctx.w, ctx.b, ctx.fused
        n = gradient.shape[1]
        g = aligned(gradient, tall(n, w.shape[2]))
        gx = product(g, w)[:, :n] if ctx.needs_input_grad[0] else None
        g = g[:, :n]
        if fused is None:
            return gx, product(g.mT, x), None if b is None else g.sum(1), None
        if w[0].numel() > _SMALL:
            w.baddbmm_(g.mT, x, beta=fused.keep, alpha=-fused.learning_rate)
        else:
            change = product(aligned(g.mT, tall(w.shape[1], w.shape[2])), x)[:, : w.shape[1]]
            _moved(w, change, fused)
        if b is not None:
            _moved(b, g.sum(1), fused)
        return gx, None, None, None


def _moved(w: Tensor, gradient: Tensor, fused: Fused) -> None:
    if fused.keep != 1:
        w.mul_(fused.keep)
    w.add_(gradient, alpha=-fused.learning_rate)


class _Product(torch.autograd.Function):
    """`product` of matrices of any alignment, `(n, ., .)` each."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.a, ctx.b = aligned(a), aligned(b)
        return product(ctx.a, ctx.b)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        g = aligned(gradient)
        return product(g, ctx.b.mT), product(ctx.a.mT, g)


def linear(x: Tensor, w: Tensor, b: Tensor | None, fused: Fused | None = None) -> Tensor:
    """`(clients, ..., inputs) -> (clients, ..., outputs)`; `w` is `aligned`."""
    y: Tensor = _Linear.apply(x.reshape(len(x), -1, x.shape[-1]), w, b, fused)  # type: ignore[no-untyped-call]
    return y.view(*x.shape[:-1], w.shape[1])


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """`a @ b` for tensors whose dimensions agree except for the last two."""
    flat: Tensor = _Product.apply(a.flatten(0, -3), b.flatten(0, -3))  # type: ignore[no-untyped-call]
    return flat.view(*a.shape[:-1], b.shape[-1])
