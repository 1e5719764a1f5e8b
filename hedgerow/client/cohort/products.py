"""Matrix products of many clients, of which each gets the same bits at every place.

A product's last bits depend on where in a cache line its operands and its
result begin. So each client's matrices begin on one.
"""

from typing import Any

import torch
from torch import Tensor

from hedgerow.client.cohort.step import Fused

LINE = 16
"""Floats in a cache line."""


def room(like: Tensor, *shape: int) -> Tensor:
    """Memory for `(clients, n, m)` matrices, each of which begins on a cache line."""
    clients, n, m = shape
    return like.new_empty(clients, -(-n * m // LINE) * LINE)[:, : n * m].view(clients, n, m)


def aligned(x: Tensor) -> Tensor:
    """The same matrices, `(clients, n, m)`, each of which begins on a cache line."""
    _, n, m = x.shape
    dense = x.stride()[1:] in ((m, 1), (1, n))
    if dense and x.stride(0) % LINE == 0 and x.storage_offset() % LINE == 0:
        return x
    return x.contiguous() if n * m % LINE == 0 else room(x, *x.shape).copy_(x)


def product(a: Tensor, b: Tensor, plus: Tensor | None = None) -> Tensor:
    """`a b + plus`, `(clients, n, k)` times `(clients, k, m)`; `a` and `b` are `aligned`."""
    shape = len(a), a.shape[1], b.shape[2]
    if shape[1] * shape[2] % LINE == 0:
        return torch.bmm(a, b) if plus is None else torch.baddbmm(plus, a, b)
    out = room(a, *shape)
    return torch.bmm(a, b, out=out) if plus is None else torch.baddbmm(plus, a, b, out=out)


class _Linear(torch.autograd.Function):
    """`y = x w^T + b` for each client. With `fused`, the backward pass changes `w` and `b` at once:
    no gradient tensor is written and read."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor | None, fused: Fused | None) -> Tensor:
        x = aligned(x)
        ctx.x, ctx.w, ctx.b, ctx.fused = x, w, b, fused
        return product(x, w.mT, None if b is None else b.unsqueeze(1))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, w, b, fused = ctx.x, ctx.w, ctx.b, ctx.fused
        g = aligned(gradient)
        gx = product(g, w) if ctx.needs_input_grad[0] else None
        if fused is None:
            return gx, product(g.mT, x), None if b is None else g.sum(1), None
        w.baddbmm_(g.mT, x, beta=fused.keep, alpha=-fused.learning_rate)
        if b is not None:
            b.mul_(fused.keep).add_(g.sum(1), alpha=-fused.learning_rate)
        return gx, None, None, None


class _Product(torch.autograd.Function):
    """`product` of matrices that lie anywhere, `(n, ., .)` each."""

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
    """`a @ b` for tensors whose dimensions are the same but for the last two."""
    flat: Tensor = _Product.apply(a.flatten(0, -3), b.flatten(0, -3))  # type: ignore[no-untyped-call]
    return flat.view(*a.shape[:-1], b.shape[-1])
