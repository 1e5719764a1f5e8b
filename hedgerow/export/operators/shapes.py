"""Operators that move elements and change none."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hedgerow.export.operators.registry import Form, translates
from hedgerow.export.writer import Value, Writer


@translates("aten.view.default", "aten.view_copy.default", "aten.squeeze.dims", "aten.unsqueeze.default")
def _reshaped(to: Writer, out: Form, x: Value, *args: Any) -> Value:
    return to.reshape(x, out.shape)


@translates("aten.permute.default", "aten.permute_copy.default")
def _permute(to: Writer, out: Form, x: Value, dims: Sequence[int]) -> Value:
    return to.transpose(x, [k % x.rank for k in dims])


@translates("aten.expand.default")
def _expand(to: Writer, out: Form, x: Value, size: Sequence[int], implicit: bool = False) -> Value:
    return to.expand(x, out.shape)


@translates("aten.repeat.default")
def _repeat(to: Writer, out: Form, x: Value, repeats: Sequence[int]) -> Value:
    lead = len(repeats) - x.rank
    wide = to.reshape(x, (*[1] * lead, *x.shape))
    return to.node("Tile", [wide, to.sizes(repeats)], out.shape, x.dtype)


@translates("aten.cat.default")
def _cat(to: Writer, out: Form, values: Sequence[Value], dim: int = 0) -> Value:
    filled = [to.cast(v, out.dtype) for v in values if v.rank == len(out.shape)]  # torch skips old empty ones
    return to.concat(filled, dim % len(out.shape))


@translates("aten.slice.Tensor", "aten.slice_copy.Tensor")
def _slice(
    to: Writer,
    out: Form,
    x: Value,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Value:
    first, last, _ = slice(start, end, step).indices(x.shape[dim])
    return to.slice(x, dim % x.rank, first, max(first, last), step)


@translates("aten.select.int", "aten.select_copy.int")
def _select(to: Writer, out: Form, x: Value, dim: int, index: int) -> Value:
    place = index % x.shape[dim]
    return to.reshape(to.slice(x, dim % x.rank, place, place + 1), out.shape)


@translates("aten.split_with_sizes.default")
def _split(
    to: Writer, out: tuple[Form, ...], x: Value, sizes: Sequence[int], dim: int = 0
) -> tuple[Value, ...]:
    forms = [(form.shape, form.dtype) for form in out]
    if len(forms) == 1:
        return (x,)
    return to.many("Split", [x, to.sizes(sizes)], forms, axis=dim % x.rank)


@translates("aten.slice_scatter.default")
def _slice_scatter(
    to: Writer, out: Form, x: Value, part: Value, dim: int = 0, start: int | None = None,
    end: int | None = None, step: int = 1,
) -> Value:  # fmt: skip
    place = dim % x.rank
    first, last, _ = slice(start, end, step).indices(x.shape[place])
    if step == 1:
        sides = [to.slice(x, place, 0, first), part, to.slice(x, place, max(first, last), x.shape[place])]
        return to.concat([v for v in sides if v.shape[place]], place)
    rows = [-1] * x.shape[place]
    for k, at in enumerate(range(first, last, step)):
        rows[at] = k
    along = [1] * x.rank
    along[place] = len(rows)
    picked = to.node("Gather", [part, to.sizes([max(0, k) for k in rows])], x.shape, x.dtype, axis=place)
    chosen = to.constant((np.array(rows) >= 0).reshape(along))
    return to.map("Where", chosen, picked, x)


@translates("aten.constant_pad_nd.default")
def _pad(to: Writer, out: Form, x: Value, pad: Sequence[int], value: float = 0) -> Value:
    pairs = [(0, 0)] * (x.rank - len(pad) // 2)
    pairs += [(pad[k], pad[k + 1]) for k in range(len(pad) - 2, -1, -2)]
    found = x
    for dim, (before, after) in enumerate(pairs):  # negative amounts take away
        found = to.slice(found, dim, max(0, -before), x.shape[dim] + min(0, after))
    amounts = to.sizes([max(0, before) for before, _ in pairs] + [max(0, after) for _, after in pairs])
    return to.node("Pad", [found, amounts, to.constant(value, x.dtype)], out.shape, x.dtype)


@translates("aten.flip.default")
def _flip(to: Writer, out: Form, x: Value, dims: Sequence[int]) -> Value:
    found = x
    for dim in dims:
        backwards = to.sizes(range(x.shape[dim])[::-1])
        found = to.node("Gather", [found, backwards], out.shape, x.dtype, axis=dim % x.rank)
    return found


@translates("aten.full.default")
def _full(to: Writer, out: Form, size: Sequence[int], value: Any, **kwargs: Any) -> Value:
    return to.constant(np.full(out.shape, value, out.dtype))


@translates("aten.full_like.default")
def _full_like(to: Writer, out: Form, like: Value, *args: Any, **kwargs: Any) -> Value:
    return to.constant(np.full(out.shape, args[-1], out.dtype))


@translates("aten.empty.memory_format", "aten.empty_permuted.default", "aten.new_empty_strided.default")
def _zeros(to: Writer, out: Form, *args: Any, **kwargs: Any) -> Value:
    return to.constant(np.zeros(out.shape, out.dtype))


@translates("aten.scalar_tensor.default")
def _scalar(to: Writer, out: Form, value: Any, **kwargs: Any) -> Value:
    return to.constant(value, out.dtype)


@translates("aten.arange.start_step")
def _arange(to: Writer, out: Form, start: Any, end: Any, step: Any = 1, **kwargs: Any) -> Value:
    return to.constant(np.asarray(start + np.arange(out.shape[0]) * step, out.dtype))
