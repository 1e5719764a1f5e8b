"""Layers for several clients side by side: `(clients, batch, ...)` in and out.

Images keep the memory order `(batch, height, width, clients, channels)`, which
a grouped convolution wants in torch's channels-last format.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hedgerow.client.cohort.ops.products import linear
from hedgerow.client.cohort.step import Step

_MOST_COLUMNS = 2**27
"""Floats in what one convolution multiplies: half a GiB."""

Layer = Callable[[Step, dict[str, str], Tensor], Any]
"""(step, full names of the layer's own tensors, input) -> output."""


def convolve(x: Tensor, w: Tensor, b: Tensor | None, **how: Any) -> Tensor:
    """All clients' 2-D convolutions as one grouped one: `(clients, batch, channels, height, width)`."""
    clients = len(x)
    if x.device.type == "cuda" and (columns := columns_of(x, w, **how)) is not None:
        # cuDNN takes up to four times as long for as many groups as there are clients.
        return convolved(columns, w, b)
    how["groups"] = clients * how.get("groups", 1)
    # In memory order: otherwise it would be copied to the default order, and again by the kernel.
    together = w.permute(0, 1, 3, 4, 2).flatten(0, 1).permute(0, 3, 1, 2)
    return each_image(x, lambda images: F.conv2d(images, together, None if b is None else b.flatten(), **how))


def columns_of(
    x: Tensor, w: Tensor, *, stride: Any, padding: Any, dilation: Any, groups: int = 1
) -> Tensor | None:
    """What a convolution multiplies with, `(clients, channels, *kernel, batch, height, width)`, as a view.

    `None` if it cannot be a view, or a copy of it would be too large.
    """
    if groups != 1 or isinstance(padding, str) or any(d != 1 for d in dilation):
        return None
    (rows, columns), (down, right), (above, left) = w.shape[-2:], stride, padding
    padded = F.pad(x, (left, left, above, above)) if above or left else x
    found = padded.unfold(3, rows, down).unfold(4, columns, right).permute(0, 2, 5, 6, 1, 3, 4)
    return found if found.numel() <= _MOST_COLUMNS else None


def convolved(columns: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    """A convolution as a product of matrices: `(clients, batch, channels, height, width)`."""
    clients, *_, batch, height, width = columns.shape
    flat, by = columns.reshape(clients, w[0, 0].numel(), -1), w.flatten(2)
    y = torch.bmm(by, flat) if b is None else torch.baddbmm(b.unsqueeze(2), by, flat)
    return y.view(clients, -1, batch, height, width).transpose(1, 2)


def each_image(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply a function of images to all clients' channels at once."""
    images = x.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
    return _apart(function(images), len(x))


def each_series(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """The same for series `(clients, batch, channels, time)`: images of height 1."""
    return function(x.unsqueeze(-2)).squeeze(-2)


def _linear(module: nn.Linear) -> Layer:
    def layer(step: Step, names: dict[str, str], x: Tensor) -> Tensor:
        w, b = (step.tensors[names[n]] if n in names else None for n in ("weight", "bias"))
        assert w is not None
        return linear(x, w, b, step.fused if set(names.values()) <= step.fuse else None)

    return layer


def _convolution(module: nn.Conv2d | nn.Conv1d) -> Layer | None:
    if module.padding_mode != "zeros":
        return None
    series = isinstance(module, nn.Conv1d)
    padding: Any = module.padding
    if series:
        padding = padding if isinstance(padding, str) else (0, *padding)
    front = (1,) if series else ()
    how = {"stride": front + module.stride, "dilation": front + module.dilation, "padding": padding}

    def layer(step: Step, names: dict[str, str], x: Tensor) -> Tensor:
        w = step.tensors[names["weight"]]
        b = step.tensors[names["bias"]] if "bias" in names else None
        if not series:
            return convolve(x, w, b, groups=module.groups, **how)
        return each_series(x, lambda x: convolve(x, w.unsqueeze(-2), b, groups=module.groups, **how))

    return layer


def _pool(module: nn.Module) -> Layer | None:
    """A 2-D pooling layer, which treats each channel separately."""
    if getattr(module, "return_indices", False):
        return None
    return lambda step, names, x: each_image(x, module)


def _pool_series(module: nn.MaxPool1d | nn.AvgPool1d) -> Layer | None:
    """1-D pooling, as 2-D pooling of images of height 1, which is faster."""
    if getattr(module, "return_indices", False):
        return None

    def pair(first: int, value: Any) -> tuple[int, int]:
        return first, value[0] if isinstance(value, tuple) else value

    sizes = pair(1, module.kernel_size), pair(1, module.stride), pair(0, module.padding)
    if isinstance(module, nn.AvgPool1d):
        pool: nn.Module = nn.AvgPool2d(*sizes, module.ceil_mode, module.count_include_pad)
    else:
        pool = nn.MaxPool2d(*sizes, pair(1, module.dilation), ceil_mode=module.ceil_mode)
    return lambda step, names, x: each_series(x, lambda x: each_image(x, pool))


def _mean_of_series(module: nn.AdaptiveAvgPool1d) -> Layer | None:
    if module.output_size not in (1, (1,)):
        return None
    return lambda step, names, x: x.mean(-1, keepdim=True)


def _mean_of_images(module: nn.AdaptiveAvgPool2d) -> Layer | None:
    if module.output_size not in (1, (1, 1)):
        return _pool(module)
    return lambda step, names, x: x.mean((-2, -1), keepdim=True)


def _group_norm(module: nn.GroupNorm) -> Layer:
    def layer(step: Step, names: dict[str, str], x: Tensor) -> Tensor:
        w, b = (step.tensors[names[n]].flatten() if n in names else None for n in ("weight", "bias"))
        groups = len(x) * module.num_groups

        def norm(images: Tensor) -> Tensor:
            return F.group_norm(images, groups, w, b, module.eps)

        return each_image(x, norm) if x.dim() == 5 else _flat_norm(x, norm)

    return layer


def _flat_norm(x: Tensor, norm: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply a norm of `(batch, channels, ...)` to `(clients, batch, channels, ...)`."""
    return _apart(norm(x.transpose(0, 1).flatten(1, 2)), len(x))


def _apart(x: Tensor, clients: int) -> Tensor:
    """`(batch, clients * channels, ...) -> (clients, batch, channels, ...)`."""
    return x.view(len(x), clients, -1, *x.shape[2:]).transpose(0, 1)


def _layer_norm(module: nn.LayerNorm) -> Layer:
    def layer(step: Step, names: dict[str, str], x: Tensor) -> Tensor:
        w, b = (step.tensors[names[n]] if n in names else None for n in ("weight", "bias"))
        return normalize(x, module, w, b)

    return layer


def normalize(x: Tensor, module: nn.LayerNorm, w: Tensor | None, b: Tensor | None) -> Tensor:
    """Layer normalization, with each client's scales and offsets."""
    y = F.layer_norm(x, module.normalized_shape, eps=module.eps)
    shape = (len(x), *(1,) * (x.dim() - 1 - len(module.normalized_shape)), *module.normalized_shape)
    y = y if w is None else y * w.view(shape)
    return y if b is None else y + b.view(shape)


def _batch_norm(module: nn.BatchNorm1d | nn.BatchNorm2d) -> Layer | None:
    """Each client's statistics are those of its own samples, without padding.

    As in `TorchTrainer`, a batch of a single sample uses the running statistics
    and does not change them, and so does every batch of a layer in evaluation
    mode.
    """
    if not module.track_running_stats or (module.training and module.momentum is None):
        return None
    momentum = module.momentum or 0.0

    def layer(step: Step, names: dict[str, str], x: Tensor) -> Tensor:
        ones = (1,) * (x.dim() - 3)
        tensors = {n: step.tensors[full] for n, full in names.items() if n != "num_batches_tracked"}
        spread = {n: t.view(len(x), 1, -1, *ones) for n, t in tensors.items()}
        if module.training:
            mean, variance = of_batch(step, x, spread)
        else:
            mean, variance = spread["running_mean"], spread["running_var"]
        y = (x - mean) * (variance + module.eps).rsqrt()
        return y * spread["weight"] + spread["bias"] if module.affine else y

    def of_batch(step: Step, x: Tensor, spread: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        ones = (1,) * (x.dim() - 3)
        mask = step.mask().view(len(x), -1, 1, *ones)
        divisor = (step.counts * math.prod(x.shape[3:])).view(len(x), 1, 1, *ones)
        alone = (step.counts == 1).view(len(x), 1, 1, *ones)

        def average(values: Tensor) -> Tensor:
            # Each sum is over contiguous values, so that its order does not depend on other clients.
            total = (values * mask).transpose(1, 2).flatten(2).sum(2)
            return total.view(len(x), 1, -1, *ones) / divisor

        mean = average(x)
        variance = average((x - mean).square())
        with torch.no_grad():
            unbiased = divisor / (divisor - 1).clamp(min=1)
            for name, now in (("running_mean", mean), ("running_var", variance * unbiased)):
                moved = torch.lerp(spread[name], now, momentum)
                spread[name].copy_(torch.where(alone, spread[name], moved))
        mean = torch.where(alone, spread["running_mean"].clone(), mean)
        return mean, torch.where(alone, spread["running_var"].clone(), variance)

    return layer


def embed(index: Tensor, w: Tensor) -> Tensor:
    """`(clients, ...) int64 -> (clients, ..., dimension)`."""
    clients, words, dimension = w.shape
    if index.numel() and (index.min() < 0 or index.max() >= words):
        raise IndexError(f"index out of range: it must be from 0 to {words - 1}")
    first = torch.arange(clients, device=index.device) * words
    return F.embedding(index + first.view(-1, *(1,) * (index.dim() - 1)), w.reshape(-1, dimension))


def _embedding(module: nn.Embedding) -> Layer | None:
    special = module.padding_idx is not None or module.max_norm is not None
    if special or module.scale_grad_by_freq or module.sparse:
        return None
    return lambda step, names, index: embed(index, step.tensors[names["weight"]])


def _elementwise(module: nn.Module) -> Layer:
    return lambda step, names, x: module(x)


def _curved(module: nn.Module) -> Layer:
    return lambda step, names, x: whole_registers(module, x)


def whole_registers(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply an elementwise function that torch implements twice.

    It computes full vector registers in one way and the remainder in another, with
    different last bits. Padding here leaves no remainder.
    """
    left_over = -x.numel() % 64
    if left_over == 0 and x.is_contiguous():
        return function(x)
    order = sorted(range(x.dim()), key=x.stride().__getitem__, reverse=True)
    ordered = x.permute(order)
    flat = function(F.pad(ordered.reshape(-1), (0, left_over)))[: x.numel()]
    return flat.view(ordered.shape).permute([order.index(d) for d in range(x.dim())])


def _flatten(module: nn.Flatten) -> Layer:
    def layer(step: Step, names: dict[str, str], x: Tensor) -> Tensor:
        return flatten(x, module.start_dim, module.end_dim)

    return layer


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """`torch.flatten` of each client's tensor."""
    return x.flatten(*(d + 1 if d >= 0 else d for d in (start_dim, end_dim)))


LAYERS: dict[type[nn.Module], Callable[[Any], Layer | None]] = {
    nn.Linear: _linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.MaxPool2d: _pool,
    nn.AvgPool2d: _pool,
    nn.MaxPool1d: _pool_series,
    nn.AvgPool1d: _pool_series,
    nn.AdaptiveAvgPool1d: _mean_of_series,
    nn.AdaptiveAvgPool2d: _mean_of_images,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.Embedding: _embedding,
    nn.Flatten: _flatten,
    **dict.fromkeys([nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Tanh, nn.Hardtanh], _elementwise),
    **dict.fromkeys(
        [nn.Sigmoid, nn.SiLU, nn.GELU, nn.Softplus, nn.ELU, nn.SELU, nn.CELU, nn.Mish, nn.Hardswish], _curved
    ),
}
"""Layers with a batched form; the function returns `None` for settings that it does not cover."""
