"""From a graph of aten operators to one of ONNX's."""

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx
from torch.fx.node import map_aggregate

from hedgerow.export.errors import CannotExport
from hedgerow.export.operators.all import translator_of
from hedgerow.export.operators.registry import Form
from hedgerow.export.tracing.origin import origin_of
from hedgerow.export.writer import Value, Writer

__all__ = ["translate"]

_DTYPES: dict[torch.dtype, np.dtype[Any]] = {
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
    torch.int64: np.dtype(np.int64),
    torch.int32: np.dtype(np.int32),
    torch.uint8: np.dtype(np.uint8),
    torch.bool: np.dtype(np.bool_),
}


def translate(
    graph: fx.Graph,
    to: Writer,
    constants: Mapping[str, Any] | None = None,
    outer: Mapping[str, Value] | None = None,
) -> Mapping[str, Value]:
    """Write a graph of aten operators; its outputs by name.

    Args:
        graph: of `hedgerow.export.tracing.trace.trace`.
        to: gets the inputs of the same names.
        constants: arrays in place of inputs, by name.
        outer: values of the graph around a loop in place of inputs, by name.

    Raises:
        CannotExport: there is no translation of an operator, or of how it is used; with the operator
            and the module that it comes from.
    """
    values: dict[Any, Any] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            name = node.meta["input"]
            if name in (outer or {}):
                values[node] = (outer or {})[name]
            else:
                array = (constants or {}).get(name)
                values[node] = _input(node, to) if array is None else to.constant(array)
        elif node.op == "get_attr":
            values[node] = to.constant(_attribute(graph.owning_module, str(node.target)))
        elif node.op == "call_function":
            values[node] = _written(node, values, to)
    output = graph.output_node()
    results: Any = output.args[0]
    found = [values[node] for node in results]
    return dict(zip(output.meta["outputs"], found, strict=True))


def _input(node: fx.Node, to: Writer) -> Value:
    form = form_of(node)
    return to.input(node.meta["input"], form.shape, form.dtype)


def _written(node: fx.Node, values: Mapping[fx.Node, Any], to: Writer) -> Any:
    def value(argument: Any) -> Any:
        return values[argument] if isinstance(argument, fx.Node) else argument

    args: Any = map_aggregate(node.args, value)
    kwargs: Any = map_aggregate(node.kwargs, value)
    if node.target is operator.getitem:
        return args[0][args[1]]
    name = str(node.target)
    translator = translator_of(name)
    if translator is None:
        raise CannotExport(
            f"{origin_of(node)} uses {name}, which has no translation to ONNX; use another layer in its"
            " place, or write a translator (docs/export.md)"
        )
    out = form_of(node)
    try:
        found = translator(to, out, *args, **kwargs)
    except NotImplementedError as error:
        raise CannotExport(
            f"{origin_of(node)} uses {name} with {error}, which has no translation to ONNX"
        ) from error
    _check(name, found, out)
    return found


def _check(name: str, found: Any, out: Any) -> None:
    """A translator that gives another shape or dtype than torch is wrong, and would be found out late."""
    pairs = zip(found, out, strict=False) if isinstance(out, tuple) else [(found, out)]
    for value, form in pairs:
        if value is not None and (value.shape, value.dtype) != (form.shape, form.dtype):
            raise AssertionError(
                f"the translator of {name} gives {value.dtype} {value.shape}, torch {form.dtype} {form.shape}"
            )


def form_of(node: fx.Node) -> Any:
    """The form of what a node gives, or a tuple of forms."""
    return _form(node.meta["val"])


def _form(value: Any) -> Any:
    if isinstance(value, Tensor):
        if value.dtype not in _DTYPES:
            raise CannotExport(f"a tensor is {str(value.dtype).removeprefix('torch.')}; use float32 or int64")
        return Form(tuple(value.shape), _DTYPES[value.dtype])
    if isinstance(value, tuple | list):
        return tuple(_form(each) for each in value)
    return None


def _attribute(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module.detach().cpu().numpy()
