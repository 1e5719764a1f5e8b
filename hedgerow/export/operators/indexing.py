"""Operators that look elements up by their places, and add to places."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hedgerow.export.operators.products import spread
from hedgerow.export.operators.registry import Form, translates
from hedgerow.export.writer import Value, Writer


@translates("aten.embedding.default")
def _embedding(to: Writer, out: Form, weight: Value, places: Value, *args: Any) -> Value:
    return to.node("Gather", [weight, places], out.shape, out.dtype, axis=0)


@translates("hedgerow.sum_rows.default")
def _sum_rows(to: Writer, out: Form, rows: Value, places: Value, count: int) -> Value:
    """Rows `(n, ...)` added to `count` rows of zeros, each at its place."""
    zeros = to.constant(np.zeros(out.shape, out.dtype))
    at = to.reshape(places, (*places.shape, 1))
    return to.node("ScatterND", [zeros, at, rows], out.shape, out.dtype, reduction="add")


@translates("aten.index_select.default")
def _index_select(to: Writer, out: Form, x: Value, dim: int, places: Value) -> Value:
    return to.node("Gather", [x, places], out.shape, out.dtype, axis=dim % x.rank)


@translates("aten.gather.default")
def _gather(to: Writer, out: Form, x: Value, dim: int, places: Value, **kwargs: Any) -> Value:
    return to.node("GatherElements", [x, places], out.shape, out.dtype, axis=dim % x.rank)


@translates("aten.scatter.src", "aten.scatter.value")
def _scatter(to: Writer, out: Form, x: Value, dim: int, places: Value, source: Any) -> Value:
    return _scattered(to, x, dim, places, source, None)


@translates("aten.scatter_add.default")
def _scatter_add(to: Writer, out: Form, x: Value, dim: int, places: Value, source: Value) -> Value:
    return _scattered(to, x, dim, places, source, "add")


def _scattered(to: Writer, x: Value, dim: int, places: Value, source: Any, reduction: str | None) -> Value:
    values = to.expand(to.operand(source, x.dtype), places.shape) if not isinstance(source, Value) else source
    for axis, size in enumerate(places.shape):  # torch takes a source that is larger
        values = to.slice(values, axis, 0, size)
    return to.node(
        "ScatterElements", [x, places, values], x.shape, x.dtype, axis=dim % x.rank, reduction=reduction
    )


@translates("aten.index.Tensor")
def _index(to: Writer, out: Form, x: Value, places: Sequence[Value | None]) -> Value:
    moved, at, _ = _by_places(to, x, places)
    found = to.node("GatherND", [moved, at], (*at.shape[:-1], *moved.shape[at.shape[-1] :]), x.dtype)
    return _back(to, found, places, at.rank - 1, out)


@translates("aten.index_put.default")
def _index_put(
    to: Writer, out: Form, x: Value, places: Sequence[Value | None], values: Value, accumulate: bool = False
) -> Value:
    moved, at, order = _by_places(to, x, places)
    if order != list(range(x.rank)):
        raise NotImplementedError("places that leave out the first dimension")
    filled = to.expand(values, (*at.shape[:-1], *moved.shape[at.shape[-1] :]))
    return to.node(
        "ScatterND", [moved, at, filled], out.shape, out.dtype, reduction="add" if accumulate else None
    )


def _by_places(to: Writer, x: Value, places: Sequence[Value | None]) -> tuple[Value, Value, list[int]]:
    """The value with the indexed dimensions first, the places `(..., dimensions)`, and the new order."""
    given = [(k, p) for k, p in enumerate(places) if p is not None]
    order = [k for k, _ in given] + [k for k in range(x.rank) if k not in dict(given)]
    shape = np.broadcast_shapes(*(p.shape for _, p in given))
    wide = [to.reshape(to.expand(_forward(to, p, x.shape[k]), shape), (*shape, 1)) for k, p in given]
    return to.transpose(x, order), to.concat(wide, len(shape)), order


def _forward(to: Writer, places: Value, size: int) -> Value:
    """Places counted from the front; torch counts negative ones from the end."""
    negative = to.map("Less", places, to.constant(0, places.dtype), dtype=bool)
    return to.map("Where", negative, to.map("Add", places, to.constant(size, places.dtype)), places)


def _back(to: Writer, found: Value, places: Sequence[Value | None], width: int, out: Form) -> Value:
    """What was looked up, where torch puts it: in place of the indexed dimensions, if they lie together."""
    at = [k for k, p in enumerate(places) if p is not None]
    first = at[0] if at == list(range(at[0], at[-1] + 1)) else 0
    rest = list(range(width, found.rank))
    return to.transpose(found, [*rest[:first], *range(width), *rest[first:]])


@translates("aten.max_pool2d_with_indices.default")
def _max_pool(
    to: Writer,
    out: tuple[Form, ...],
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> tuple[Value, Value]:
    batch = to.reshape(x, (1, *x.shape)) if x.rank == 3 else x
    shape = (*batch.shape[:2], *out[0].shape[-2:])
    values, places = to.many(
        "MaxPool", [batch], [(shape, x.dtype), (shape, np.int64)], kernel_shape=spread(kernel, 2),
        strides=spread(stride or kernel, 2), pads=spread(padding, 2) * 2, dilations=spread(dilation, 2),
        ceil_mode=int(ceil_mode),
    )  # fmt: skip
    # ONNX counts places through all planes, torch within each.
    within = to.map("Mod", places, to.constant(x.shape[-1] * x.shape[-2], np.int64))
    return to.reshape(values, out[0].shape), to.reshape(within, out[1].shape)
