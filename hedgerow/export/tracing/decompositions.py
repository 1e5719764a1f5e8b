"""Operators in terms of simpler ones: torch's own table, and backward passes that it lacks."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions, get_decompositions

aten = torch.ops.aten


@torch.library.custom_op("hedgerow::sum_rows", mutates_args=())
def sum_rows(rows: Tensor, places: Tensor, count: int) -> Tensor:
    """Rows `(n, ...)` added to `count` rows of zeros, each at its place `(n,) int64`."""
    return rows.new_zeros((count, *rows.shape[1:])).index_add(0, places, rows)


@sum_rows.register_fake
def _(rows: Tensor, places: Tensor, count: int) -> Tensor:
    return rows.new_empty((count, *rows.shape[1:]))


@cache
def table() -> dict[Any, Callable[..., Any]]:
    """Decompositions by operator."""
    more = [
        aten.native_layer_norm, aten.split, aten.unsafe_split, aten.new_zeros,
        aten.unsafe_split_with_sizes, aten.softplus, aten.softplus_backward, aten.elu, aten.gelu, aten.silu,
        aten.silu_backward, aten.mish, aten.mish_backward, aten.hardswish, aten.hardswish_backward,
    ]  # fmt: skip
    return {
        **core_aten_decompositions(),
        **get_decompositions(more),
        aten.convolution_backward.default: _convolution_backward,
        aten.max_pool2d_with_indices_backward.default: _max_pool_backward,
        aten.embedding_dense_backward.default: _embedding_backward,
        aten.avg_pool2d.default: _avg_pool,
        aten.avg_pool2d_backward.default: _avg_pool_backward,
        aten._adaptive_avg_pool2d.default: _adaptive_pool,
        aten._adaptive_avg_pool2d_backward.default: _adaptive_pool_backward,
        aten.native_group_norm.default: _group_norm,
    }


def _spread(numbers: Sequence[int], dims: int) -> list[int]:
    return list(numbers) * dims if len(numbers) == 1 else list(numbers)


def _convolution_backward(
    g: Tensor, x: Tensor, weight: Tensor, bias_sizes: Any, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], transposed: bool, output_padding: Sequence[int], groups: int,
    wanted: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # fmt: skip
    """Of the input a transposed convolution; of the weight one of the input with `g`."""
    dims = x.dim() - 2
    stride, padding, dilation = (_spread(numbers, dims) for numbers in (stride, padding, dilation))
    of_x = of_weight = of_bias = None
    if wanted[0]:
        if transposed:
            of_x = aten.convolution(g, weight, None, stride, padding, dilation, False, [0] * dims, groups)
        else:
            more = [
                x.shape[2 + k]
                - (
                    (g.shape[2 + k] - 1) * stride[k]
                    - 2 * padding[k]
                    + dilation[k] * (weight.shape[2 + k] - 1)
                    + 1
                )
                for k in range(dims)
            ]
            of_x = aten.convolution(g, weight, None, stride, padding, dilation, True, more, groups)
    if wanted[1]:
        # A transposed convolution is one in which its output and its input change places.
        small, large = (x, g) if transposed else (g, x)
        of_weight = _of_weight(large, small, weight.shape, stride, padding, dilation, groups)
    if wanted[2]:
        of_bias = g.sum([0, *range(2, 2 + dims)])
    return of_x, of_weight, of_bias


def _of_weight(
    large: Tensor, small: Tensor, shape: Sequence[int], stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], groups: int,
) -> Tensor:  # fmt: skip
    """Samples become channels, and channels samples; stride and dilation change places."""
    dims = large.dim() - 2
    n, channels = large.shape[:2]
    each = channels // groups
    space = large.shape[2:]
    parts = large.reshape(n, groups, each, *space).permute(2, 1, 0, *range(3, 3 + dims))
    found = aten.convolution(
        parts.reshape(each, groups * n, *space), small.transpose(0, 1), None, dilation, padding, stride,
        False, [0] * dims, groups,
    )  # fmt: skip
    for k in range(dims):  # there are more where the stride leaves some of the input unused
        found = aten.slice(found, 2 + k, 0, shape[2 + k])
    of_weight: Tensor = found.transpose(0, 1)
    return of_weight


def _max_pool_backward(
    g: Tensor,
    x: Tensor,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    places: Tensor,
) -> Tensor:
    planes, size = x.shape[:-2].numel(), x.shape[-1] * x.shape[-2]
    zeros = torch.zeros(planes, size, dtype=x.dtype, device=x.device)
    found = aten.scatter_add(zeros, 1, places.reshape(planes, -1), g.reshape(planes, -1))
    of_x: Tensor = found.reshape(x.shape)
    return of_x


def _embedding_backward(
    g: Tensor, places: Tensor, count: int, padding_idx: int, by_frequency: bool
) -> Tensor:
    if by_frequency:
        raise NotImplementedError("scale_grad_by_freq")
    flat, rows = places.reshape(-1), g.reshape(-1, g.shape[-1])
    if padding_idx >= 0:
        rows = rows * (flat != padding_idx).to(g.dtype).unsqueeze(-1)
    found: Tensor = torch.ops.hedgerow.sum_rows(rows, flat, count)
    return found


def _avg_pool(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int] = (), padding: Sequence[int] = (0,),
    ceil_mode: bool = False, count_include_pad: bool = True, divisor: int | None = None,
) -> Tensor:  # fmt: skip
    """A convolution of each plane with a constant."""
    weight, stride, padding = _averaging(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor)
    planes = x.reshape(-1, 1, *x.shape[-2:])
    found = aten.convolution(planes, weight, None, stride, padding, [1, 1], False, [0, 0], 1)
    pooled: Tensor = found.reshape(*x.shape[:-2], *found.shape[-2:])
    return pooled


def _avg_pool_backward(
    g: Tensor, x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
    ceil_mode: bool, count_include_pad: bool, divisor: int | None,
) -> Tensor:  # fmt: skip
    weight, stride, padding = _averaging(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor)
    planes, flat = x.reshape(-1, 1, *x.shape[-2:]), g.reshape(-1, 1, *g.shape[-2:])
    found, _, _ = _convolution_backward(
        flat, planes, weight, None, stride, padding, [1, 1], False, [0, 0], 1, [True, False, False]
    )
    assert found is not None
    return found.reshape(x.shape)


def _averaging(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], ceil_mode: bool,
    count_include_pad: bool, divisor: int | None,
) -> tuple[Tensor, list[int], list[int]]:  # fmt: skip
    size, edge = _spread(kernel, 2), _spread(padding, 2)
    if ceil_mode or (any(edge) and not count_include_pad and divisor is None):
        raise NotImplementedError("average pooling with ceil_mode, or without count_include_pad")
    weight = torch.full((1, 1, *size), 1 / (divisor or size[0] * size[1]), dtype=x.dtype, device=x.device)
    return weight, _spread(stride or kernel, 2), edge


def _adaptive_pool(x: Tensor, size: Sequence[int]) -> Tensor:
    return _cells(x, size).mean([-3, -1])


def _adaptive_pool_backward(g: Tensor, x: Tensor) -> Tensor:
    cells = _cells(x, g.shape[-2:])
    wide = g.unsqueeze(-1).unsqueeze(-3) / (cells.shape[-3] * cells.shape[-1])
    return wide.expand(cells.shape).reshape(x.shape)


def _cells(x: Tensor, size: Sequence[int]) -> Tensor:
    """`(..., rows, cell height, columns, cell width)`."""
    height, width = x.shape[-2:]
    if height % size[0] or width % size[1]:
        raise NotImplementedError(
            f"adaptive pooling of {height}x{width} to {size[0]}x{size[1]}, which does not divide it"
        )
    return x.reshape(*x.shape[:-2], size[0], height // size[0], size[1], width // size[1])


def _group_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    n: int,
    channels: int,
    size: int,
    groups: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    var, mean = torch.var_mean(x.reshape(n, groups, -1), -1, correction=0, keepdim=True)
    scale = (var + eps).rsqrt()
    found = ((x.reshape(n, groups, -1) - mean) * scale).reshape(n, channels, -1)
    if weight is not None:
        found = found * weight.view(1, -1, 1)
    if bias is not None:
        found = found + bias.view(1, -1, 1)
    return found.reshape(x.shape), mean.reshape(n, groups), scale.reshape(n, groups)
