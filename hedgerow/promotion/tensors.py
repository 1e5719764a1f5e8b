"""A model as named tensors, as in a safetensors file."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hedgerow.types import Layout, Model, Tensor, Vector

Arrays = dict[str, NDArray[Any]]

_NAMED = 3


class OtherTensors(ValueError):
    """Tensors do not match a layout; the error names the first that differ."""


def named_tensors(model: Model, layout: Layout) -> Arrays:
    """All tensors that the module saves, including unsent buffers and all names of tied tensors."""
    arrays: Arrays = {}
    for tensors, values in ((layout.parameters, model.parameters), (layout.untrained, model.untrained)):
        start = 0
        for tensor in tensors:
            arrays[tensor.name] = values[start : start + tensor.size].reshape(tensor.shape)
            start += tensor.size
    arrays |= {each.name: each.values for each in layout.unsent}
    return arrays | {second: arrays[first] for second, first in layout.ties}


def frozen_names(layout: Layout) -> frozenset[str]:
    """Names of the tensors that no round changes.

    >>> sorted(frozen_names(Layout((Tensor("w", (2,)),), constants=(Tensor("mask", (3,)),))))
    ['mask']
    """
    own = {tensor.name for tensor in layout.constants} | {each.name for each in layout.unsent}
    return frozenset(own | {second for second, first in layout.ties if first in own})


def model_of(arrays: Arrays, layout: Layout) -> Model:
    """The model made of named tensors; tied ones may have any of their names, or several.

    Raises:
        OtherTensors: one is missing, unknown, or has another shape or type.
    """
    arrays = dict(arrays)
    wrong = _untie(arrays, layout.ties)
    wanted = {t.name: t.shape for t in (*layout.parameters, *layout.buffers, *layout.constants)}
    wrong += [f"{name!r} is missing" for name in wanted if name not in arrays]
    wrong += [
        f"{name!r} is {_kind(arrays[name])}, and must be float32 {list(shape)}"
        for name, shape in wanted.items()
        if name in arrays and (arrays[name].shape != shape or arrays[name].dtype != np.float32)
    ]
    wrong += [
        f"{name!r} is not in the model"
        for name, values in arrays.items()
        if name not in wanted and np.issubdtype(values.dtype, np.floating)
    ]
    if wrong:
        more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise OtherTensors("; ".join(wrong[:_NAMED]) + more)
    parts = layout.parameters, layout.buffers, layout.constants
    return Model(*(_joined(arrays, tensors) for tensors in parts))


def contiguous(arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """Contiguous arrays for `safetensors`; unlike `ascontiguousarray`, a scalar stays a scalar."""
    return {name: np.asarray(values, order="C") for name, values in arrays.items()}


def _untie(arrays: Arrays, ties: Sequence[tuple[str, str]]) -> list[str]:
    """Keep only the first name of tied tensors; returns what is wrong with them."""
    wrong = []
    for second, first in ties:
        values = arrays.pop(second, None)
        if values is not None and arrays.setdefault(first, values).tobytes() != values.tobytes():
            wrong.append(f"{second!r} is not {first!r}, to which the model ties it")
    return wrong


def _joined(arrays: Mapping[str, NDArray[Any]], tensors: Sequence[Tensor]) -> Vector:
    return np.concatenate([np.empty(0, np.float32), *(arrays[tensor.name].ravel() for tensor in tensors)])


def _kind(values: NDArray[Any]) -> str:
    return f"{values.dtype} {list(values.shape)}"
