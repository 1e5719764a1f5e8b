"""Arguments for each operator that has a translator: `{operator: [(arguments, settings), ...]}`."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

Case = tuple[tuple[Any, ...], dict[str, Any]]


def cases(seed: int, dtype: torch.dtype) -> Iterator[tuple[str, Case]]:
    """All cases, of shapes drawn from a seed."""
    rng = np.random.default_rng(seed)
    a, b, c = (int(k) for k in rng.integers(2, 5, 3))

    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(rng.normal(size=shape)).to(dtype)

    def positive(*shape: int) -> Tensor:
        return normal(*shape).abs() + 0.1

    def whole(most: int, *shape: int) -> Tensor:
        return torch.from_numpy(rng.integers(0, most, shape))

    def truths(*shape: int) -> Tensor:
        return whole(2, *shape).bool()

    def aten(name: str, *args: Any, **kwargs: Any) -> tuple[str, Case]:
        return f"aten.{name}", (args, kwargs)

    for name in (
        "neg",
        "exp",
        "abs",
        "sign",
        "tanh",
        "sigmoid",
        "relu",
        "erf",
        "sin",
        "cos",
        "floor",
        "ceil",
    ):
        yield aten(f"{name}.default", normal(a, b))
    for name in ("log", "sqrt", "reciprocal", "rsqrt", "log1p"):
        yield aten(f"{name}.default", positive(a, b))
    for name in ("exp", "tanh", "sigmoid", "erf", "sin", "sqrt"):
        yield aten(f"{name}.default", whole(3, a, b))
    small = torch.tensor([0.0, 1e-9, -1e-5, 0.3, -0.5, 0.6, -4.0, 2.0], dtype=dtype)
    yield aten("expm1.default", small)
    yield aten("log1p.default", torch.cat([small[:6], torch.tensor([math.inf], dtype=dtype)]))
    for name in ("add.Tensor", "sub.Tensor", "mul.Tensor", "div.Tensor"):
        yield aten(name, normal(a, b, c), positive(b, 1))
        yield aten(name, normal(a, b), whole(5, b) + 1)
        yield aten(name, normal(a, b), 2.5)
        yield aten(name, whole(9, a), whole(9, a) + 1)
    for name in ("add.Tensor", "sub.Tensor"):
        yield aten(name, normal(a, b), normal(b), alpha=-0.5)
    for name in ("add.Scalar", "sub.Scalar", "mul.Scalar", "div.Scalar"):
        yield aten(name, normal(a, b), 3)
        yield aten(name, whole(9, a), 2)
    yield aten("pow.Tensor_Tensor", positive(a, b), normal(b))
    yield aten("pow.Scalar", 0.9, whole(9, a).to(dtype))
    for power in (2, 3, -0.5, 0.5):
        yield aten("pow.Tensor_Scalar", positive(a, b), power)
    for name in ("maximum.default", "minimum.default"):
        yield aten(name, normal(a, b), normal(b))
        yield aten(name, whole(9, a), whole(9, a))
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        yield aten(f"{name}.Tensor", whole(3, a, b), whole(3, b))
        yield aten(f"{name}.Tensor", normal(a, b), whole(3, b))
        yield aten(f"{name}.Scalar", normal(a, b), 0)
        yield aten(f"{name}.Scalar", whole(3, a, b), 0.5)
        yield aten(f"{name}.Scalar", whole(3, a, b), 1)
    for name in ("logical_and.default", "logical_or.default", "logical_xor.default"):
        yield aten(name, truths(a, b), whole(2, b))
    for name in ("bitwise_and.Tensor", "bitwise_or.Tensor", "bitwise_xor.Tensor"):
        yield aten(name, truths(a, b), truths(b))
    yield aten("logical_not.default", whole(2, a))
    yield aten("bitwise_not.default", truths(a))
    odd = torch.tensor([0.0, math.nan, math.inf, -math.inf], dtype=dtype)
    yield aten("isnan.default", odd)
    yield aten("isinf.default", odd)
    yield aten("where.self", truths(a, 1), normal(a, b), normal(b))
    for low, high in ((None, 0.5), (-0.5, None), (-0.2, 0.3)):
        yield aten("clamp.default", normal(a, b), low, high)
    yield aten("clamp.Tensor", normal(a, b), normal(b) - 1, None)
    yield aten("leaky_relu.default", normal(a, b), 0.2)
    yield aten("hardtanh.default", normal(a, b), -0.5, 0.7)
    for kind in (torch.float32, torch.float64, torch.int64, torch.bool):
        yield aten("_to_copy.default", torch.tensor([0.0, 0.4, -1.7, 3.0], dtype=dtype), dtype=kind)
    yield aten("_to_copy.default", truths(a, b), dtype=dtype)
    for name in ("alias", "clone", "lift_fresh_copy"):
        yield aten(f"{name}.default", normal(a, b))
    yield aten("copy.default", normal(a, b), normal(b))

    for name in ("view", "view_copy"):
        yield aten(f"{name}.default", normal(a, b, c), [a * b, -1])
    yield aten("squeeze.dims", normal(a, 1, b, 1), [1, 3])
    yield aten("unsqueeze.default", normal(a, b), -1)
    yield aten("permute.default", normal(a, b, c), [2, 0, -2])
    yield aten("permute_copy.default", normal(a, b, c), [1, 0, 2])
    yield aten("expand.default", normal(b, 1), [a, b, c])
    yield aten("repeat.default", normal(a, b), [2, 1, 3])
    yield aten("cat.default", [normal(a, b), normal(c, b), torch.zeros(0, dtype=dtype)])
    yield aten("cat.default", [normal(a, b), whole(3, a, c)], -1)
    for name in ("slice.Tensor", "slice_copy.Tensor"):
        for bounds in ((0, 1), (1, 1, -1), (1, -2, 2**62), (0, 0, 9, 2), (1, 3, 1)):
            yield aten(name, normal(a, b + 3), *bounds)
    for name in ("select.int", "select_copy.int"):
        yield aten(name, normal(a, b, c), 1, -1)
    yield aten("split_with_sizes.default", normal(a, b + c), [b, c], -1)
    yield aten("split_with_sizes.default", normal(a, b), [a])
    yield aten("slice_scatter.default", normal(a, b + 3), normal(a, b), 1, 2, b + 2)
    yield aten("slice_scatter.default", normal(6, b), normal(2, b), 0, 1, 5, 2)
    yield aten("constant_pad_nd.default", normal(a, b, c), [1, 2, 0, 3], 0.5)
    yield aten("constant_pad_nd.default", normal(a, b, c), [-1, 2])
    yield aten("flip.default", normal(a, b, c), [0, -1])
    yield aten("full.default", [a, b], 1.5, dtype=dtype)
    yield aten("full.default", [4, 5], 0, dtype=torch.int64)
    yield aten("full_like.default", normal(a, b), 2)
    yield aten("empty.memory_format", [0, b], dtype=dtype)
    yield aten("empty_permuted.default", [0, b], [1, 0], dtype=dtype)
    yield aten("new_empty_strided.default", normal(a, b), [0, b], [b, 1])
    yield aten("scalar_tensor.default", 2.5, dtype=dtype)
    yield aten("arange.start_step", 1, 9, 3, dtype=torch.int64)

    for name in ("sum.dim_IntList", "mean.dim"):
        for dims in ([0], [-1, 0], None):
            for keep in (False, True):
                yield aten(name, normal(a, b, c), dims, keep)
    yield aten("sum.dim_IntList", truths(a, b), [0])
    yield aten("sum.dim_IntList", normal(a, b), [])
    yield aten("amax.default", normal(a, b, c), [0, -1], True)
    yield aten("amin.default", normal(a, b, c))
    for name in ("max.dim", "min.dim"):
        yield aten(name, normal(a, b, c), -1, True)
    for name in ("argmax.default", "argmin.default"):
        yield aten(name, normal(a, b, c), 1)
        yield aten(name, whole(2, a, b, c), -1, True)
        yield aten(name, normal(a, b))
    yield aten("any.default", truths(a, b))
    yield aten("any.dim", whole(2, a, b), 1, True)
    for correction in (0, 1, None):
        yield aten("var.correction", normal(a, b, c), [0, 2], correction=correction)
        yield aten("var_mean.correction", normal(a, b, c), [1], correction=correction, keepdim=True)
    yield aten("cumsum.default", normal(a, b, c), -2)
    yield aten("cumsum.default", truths(a, b), 0)
    for name in ("_softmax.default", "_log_softmax.default"):
        yield aten(name, normal(a, b, c), 1, False)
    yield aten("linalg_vector_norm.default", normal(a, b, c), 2, [0, 2], True)

    yield aten("mm.default", normal(a, b), normal(b, c))
    yield aten("bmm.default", normal(a, b, c), normal(a, c, b))
    yield aten("addmm.default", normal(c), normal(a, b), normal(b, c))
    yield aten("addmm.default", normal(a, c), normal(a, b), normal(b, c), beta=0.5, alpha=2)
    yield from (aten("convolution.default", *given) for given in _convolutions(normal, a, b))
    yield aten("max_pool2d_with_indices.default", normal(a, b, 7, 8), [2, 3])
    yield aten("max_pool2d_with_indices.default", normal(b, 7, 8), [3], [2], [1])
    yield aten("max_pool2d_with_indices.default", normal(a, b, 9, 9), [2, 2], [2, 2], [0, 0], [2, 1], True)

    yield aten("embedding.default", normal(a, b), whole(a, 5, c))
    yield aten("index_select.default", normal(a, b), 1, whole(b, 5))
    yield aten("gather.default", normal(a, b), 1, whole(b, a, 5))
    yield aten("scatter.src", normal(a, b), 0, torch.zeros(1, b, dtype=torch.int64), normal(a, b))
    yield aten("scatter.value", normal(a, b), 1, whole(b, a, 1), 2.5)
    yield aten("scatter_add.default", normal(a, b), 1, whole(b, a, 5), normal(a, 6))
    yield aten("index.Tensor", normal(a, b, c), [whole(a, 5), whole(b, 5)])
    yield aten("index.Tensor", normal(a, b, c), [None, whole(b, 2, 3) - 1])
    yield aten("index.Tensor", normal(a, b, c), [whole(a, 5), None, whole(c, 5)])
    yield aten("index_put.default", normal(a, b), [whole(a, 6)], normal(6, b), True)
    yield aten("index_put.default", normal(a, b), [torch.tensor([1]), torch.tensor([0])], normal())
    yield from _loops(normal, a, b)
    yield "hedgerow.sum_rows.default", ((normal(6, b), whole(a, 6), a), {})


def _convolutions(normal: Any, a: int, b: int) -> Iterator[tuple[Any, ...]]:
    yield normal(a, 2, 9), normal(b, 2, 3), normal(b), [2], [1], [1], False, [0], 1
    yield normal(a, 2, 9, 8), normal(b, 2, 3, 2), None, [1, 2], [0, 1], [2, 1], False, [0, 0], 1
    yield normal(a, 4, 6, 6), normal(8, 1, 3, 3), normal(8), [1, 1], [1, 1], [1, 1], False, [0, 0], 4
    yield normal(a, 4, 5, 6), normal(4, 2, 3, 3), normal(4), [2, 2], [1, 1], [1, 1], True, [1, 0], 2


def _loops(normal: Any, n: int, units: int) -> Iterator[tuple[str, Case]]:
    """Of every cell, forward and backward in time."""
    for backwards in (False, True):
        for name, inputs, states, constants in (
            ("gru", [3], 1, [(units, 3 * units), (3 * units,)]),
            ("gru_backward", [1] * 6, 1, [(3 * units, units)]),
            ("lstm", [4], 2, [(units, 4 * units)]),
            ("lstm_backward", [1] * 8, 2, [(4 * units, units)]),
            ("rnn_tanh", [1], 1, [(units, units)]),
            ("rnn_relu", [1], 1, [(units, units)]),
            ("rnn_backward", [1] * 2, 1, [(units, units)]),
        ):
            series = [normal(4, n, times * units) for times in inputs]
            first = [normal(n, units) for _ in range(states)]
            weights = [0.3 * normal(*shape) for shape in constants]
            yield "hedgerow.loop.default", ((name, series, first, weights, backwards), {})
