"""Operators that make one number of many: sums, means, maxima, softmax."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hedgerow.export.operators.registry import Form, translates
from hedgerow.export.writer import Value, Writer

Dims = Sequence[int] | int | None


def _dims(x: Value, dims: Dims) -> list[int]:
    """Which dimensions; none given is all of them."""
    given = [dims] if isinstance(dims, int) else list(dims or [])
    return sorted(k % x.rank for k in given) if given and x.rank else list(range(x.rank))


@translates("aten.sum.dim_IntList")
def _sum(to: Writer, out: Form, x: Value, dims: Dims = None, keep: bool = False, **kwargs: Any) -> Value:
    return to.reduce("ReduceSum", to.cast(x, out.dtype), _dims(x, dims), keep)


@translates("aten.mean.dim")
def _mean(to: Writer, out: Form, x: Value, dims: Dims = None, keep: bool = False, **kwargs: Any) -> Value:
    return to.reduce("ReduceMean", to.cast(x, out.dtype), _dims(x, dims), keep)


@translates("aten.amax.default")
def _amax(to: Writer, out: Form, x: Value, dims: Dims = None, keep: bool = False) -> Value:
    return to.reduce("ReduceMax", x, _dims(x, dims), keep)


@translates("aten.amin.default")
def _amin(to: Writer, out: Form, x: Value, dims: Dims = None, keep: bool = False) -> Value:
    return to.reduce("ReduceMin", x, _dims(x, dims), keep)


@translates("aten.max.dim")
def _max_dim(to: Writer, out: tuple[Form, ...], x: Value, dim: int, keep: bool = False) -> tuple[Value, ...]:
    return _amax(to, out[0], x, dim, keep), _argmax(to, out[1], x, dim, keep)


@translates("aten.min.dim")
def _min_dim(to: Writer, out: tuple[Form, ...], x: Value, dim: int, keep: bool = False) -> tuple[Value, ...]:
    return _amin(to, out[0], x, dim, keep), _argmin(to, out[1], x, dim, keep)


@translates("aten.argmax.default")
def _argmax(to: Writer, out: Form, x: Value, dim: int | None = None, keep: bool = False) -> Value:
    return _place(to, "ArgMax", out, x, dim, keep)


@translates("aten.argmin.default")
def _argmin(to: Writer, out: Form, x: Value, dim: int | None = None, keep: bool = False) -> Value:
    return _place(to, "ArgMin", out, x, dim, keep)


def _place(to: Writer, op: str, out: Form, x: Value, dim: int | None, keep: bool) -> Value:
    flat = to.reshape(x, (-1 if x.rank == 0 else math.prod(x.shape),)) if dim is None else x
    axis = 0 if dim is None else dim % x.rank
    found = to.node(op, [flat], out.shape, np.int64, axis=axis, keepdims=int(keep and dim is not None))
    return to.reshape(found, out.shape)


@translates("aten.any.default", "aten.any.dim")
def _any(to: Writer, out: Form, x: Value, dims: Dims = None, keep: bool = False) -> Value:
    return to.cast(to.reduce("ReduceMax", _truths(to, x), _dims(x, dims), keep), bool)


def _truths(to: Writer, x: Value) -> Value:
    """0 and 1 in a dtype that ONNX Runtime reduces."""
    return to.cast(to.cast(x, bool), np.int32)


@translates("aten.var.correction")
def _var(
    to: Writer, out: Form, x: Value, dims: Dims = None, correction: float | None = None, keepdim: bool = False
) -> Value:
    return _variance(to, x, dims, correction, keepdim)[0]


@translates("aten.var_mean.correction")
def _var_mean(
    to: Writer, out: Any, x: Value, dims: Dims = None, correction: float | None = None, keepdim: bool = False
) -> tuple[Value, Value]:
    return _variance(to, x, dims, correction, keepdim)


def _variance(to: Writer, x: Value, dims: Dims, correction: float | None, keep: bool) -> tuple[Value, Value]:
    over = _dims(x, dims)
    mean = to.reduce("ReduceMean", x, over, True)
    moved = to.map("Sub", x, mean)
    total = to.reduce("ReduceSum", to.map("Mul", moved, moved), over, keep)
    count = math.prod(x.shape[k] for k in over) - (1 if correction is None else correction)
    return to.map("Div", total, to.constant(max(0, count), x.dtype)), to.reshape(mean, total.shape)


@translates("aten.cumsum.default")
def _cumsum(to: Writer, out: Form, x: Value, dim: int, **kwargs: Any) -> Value:
    found = to.cast(x, out.dtype)
    if not x.rank:
        return found
    return to.node("CumSum", [found, to.constant(dim % x.rank, np.int64)], out.shape, out.dtype)


@translates("aten._softmax.default")
def _softmax(to: Writer, out: Form, x: Value, dim: int, half_to_float: bool) -> Value:
    return to.node("Softmax", [to.cast(x, out.dtype)], out.shape, out.dtype, axis=dim)


@translates("aten._log_softmax.default")
def _log_softmax(to: Writer, out: Form, x: Value, dim: int, half_to_float: bool) -> Value:
    return to.node("LogSoftmax", [to.cast(x, out.dtype)], out.shape, out.dtype, axis=dim)


@translates("aten.linalg_vector_norm.default")
def _norm(
    to: Writer, out: Form, x: Value, ord: float = 2, dims: Dims = None, keep: bool = False, **kwargs: Any
) -> Value:
    if ord != 2:
        raise NotImplementedError(f"ord={ord}")
    return to.reduce("ReduceL2", to.cast(x, out.dtype), _dims(x, dims), keep)
