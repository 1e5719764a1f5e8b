"""Tensor functions and methods, for several clients side by side."""

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hedgerow.client.cohort.ops import layers, products
from hedgerow.client.cohort.step import CannotBatch

Function = Callable[..., Any]
"""Takes the original's arguments, where tensors have a first dimension of clients."""


def _level(*values: Any) -> list[Any]:
    """Give tensors the same rank, so that they broadcast after the dimension of clients."""
    rank = max(v.dim() for v in values if isinstance(v, Tensor))
    return [
        v.view(len(v), *(1,) * (rank - v.dim()), *v.shape[1:]) if isinstance(v, Tensor) else v for v in values
    ]


def _binary(function: Function) -> Function:
    return lambda a, b: function(*_level(a, b))


def _reshape(x: Tensor, *shape: Any) -> Tensor:
    sizes = shape[0] if isinstance(shape[0], (tuple, list)) else shape
    return x.reshape(len(x), *sizes)


def _curved(function: Function) -> Function:
    return lambda x, *args, **kwargs: layers.whole_registers(lambda v: function(v, *args, **kwargs), x)


def _images(function: Function) -> Function:
    """Batch a function of images that treats each channel separately."""
    return lambda x, *args, **kwargs: layers.each_image(x, lambda v: function(v, *args, **kwargs))


def _adaptive_mean(x: Tensor, output_size: Any) -> Tensor:
    if output_size in (1, (1, 1), [1, 1]):
        return x.mean((-2, -1), keepdim=True)
    return layers.each_image(x, lambda v: F.adaptive_avg_pool2d(v, output_size))


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return products.linear(x, weight, bias)


def _matmul(a: Tensor, b: Tensor) -> Tensor:
    if min(a.dim(), b.dim()) > 2 and a.shape[:-2] == b.shape[:-2]:
        return products.matmul(a, b)
    return torch.vmap(torch.matmul)(a, b)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **options: Any,
) -> Tensor:
    """`scaled_dot_product_attention` of each client's tensors."""
    if dropout_p:
        raise CannotBatch("dropout inside attention")
    q, k, v, mask = (None if t is None else t.flatten(0, 1) for t in (query, key, value, attn_mask))
    assert q is not None
    assert k is not None
    assert v is not None
    out = F.scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal, **options)
    return out.view(*query.shape[:2], *out.shape[1:])


def _same(x: Tensor) -> Tensor:
    return x


_ELEMENTWISE = [torch.relu, F.relu, F.relu6, F.leaky_relu, F.hardtanh, torch.tanh, F.tanh]
_CURVED = [
    *(torch.sigmoid, F.sigmoid, F.silu, F.gelu, F.softplus, F.elu, F.selu, F.celu, F.mish, F.hardswish),
]
_BINARY: dict[Any, Function] = {
    **{f: f for f in (operator.add, operator.sub, operator.mul, operator.truediv)},
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    **{f: f for f in (torch.add, torch.sub, torch.mul, torch.div)},
    **{name: getattr(torch, name) for name in ("add", "sub", "mul", "div")},
}

FUNCTIONS: dict[Any, Function] = {
    **{f: f for f in _ELEMENTWISE},
    **{name: getattr(torch, name) for name in ("relu", "tanh")},
    **{f: _curved(f) for f in _CURVED},
    "sigmoid": _curved(torch.sigmoid),
    **{key: _binary(f) for key, f in _BINARY.items()},
    torch.flatten: layers.flatten,
    "flatten": layers.flatten,
    "view": _reshape,
    "reshape": _reshape,
    "contiguous": _same,
    F.max_pool2d: _images(F.max_pool2d),
    F.avg_pool2d: _images(F.avg_pool2d),
    F.adaptive_avg_pool2d: _adaptive_mean,
    F.linear: _linear,
    **dict.fromkeys([operator.matmul, torch.matmul, torch.bmm, "matmul", "bmm"], _matmul),
    F.scaled_dot_product_attention: attention,
}
"""By function or method name. All tensor arguments must have a dimension of clients."""

ATTRIBUTES: dict[str, Function] = {
    "shape": lambda x: x.shape[1:],
    "ndim": lambda x: x.dim() - 1,
    "dtype": lambda x: x.dtype,
    "device": lambda x: x.device,
}


def _attribute(x: Tensor, name: str) -> Any:
    return ATTRIBUTES[name](x)


def _size(x: Tensor, dim: int | None = None) -> Any:
    return x.shape[1:] if dim is None else x.shape[1:][dim]


FACTS: dict[Any, Function] = {
    getattr: _attribute,
    len: lambda x: x.shape[1],
    "size": _size,
    "dim": lambda x: x.dim() - 1,
    "numel": lambda x: math.prod(x.shape[1:]),
}
"""Queries about a tensor with the same result for every client: sizes, types."""
