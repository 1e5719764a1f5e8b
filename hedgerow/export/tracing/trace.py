"""A function of tensors as one graph of aten operators, without changes in place."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from hedgerow.export.errors import CannotExport
from hedgerow.export.tracing.decompositions import table
from hedgerow.export.tracing.origin import Origins, Replayed

Function = Callable[..., Mapping[str, Tensor]]


def trace(function: Function, inputs: Mapping[str, Tensor], module: nn.Module) -> fx.Graph:
    """The graph of `function(**inputs)`; only the inputs' shapes and dtypes count.

    Args:
        function: gives tensors by name, which are the graph's outputs.
        inputs: by name, which are the graph's placeholders.
        module: the model, which the function calls: what is refused names the part of it.

    Raises:
        CannotExport: the function depends on the values of tensors, or on an operator's setting that
            has no translation.
    """
    names, outputs = list(inputs), list[str]()
    origins = Origins(module)

    def positional(*tensors: Tensor) -> list[Tensor]:
        found = function(**dict(zip(names, tensors, strict=True)))
        outputs[:] = found
        return list(found.values())

    with origins.follow():
        graph = _made(positional, list(inputs.values()), origins)
    if any(_in_place(node) for node in graph.graph.nodes):
        again = functionalize(Replayed(graph, origins).run, remove="mutations_and_views")
        graph = _made(again, list(inputs.values()), origins)
    for node, name in zip(graph.graph.find_nodes(op="placeholder"), names, strict=True):
        node.meta["input"] = name
    graph.graph.output_node().meta["outputs"] = outputs
    graph.graph.eliminate_dead_code()
    return graph.graph


def _made(function: Callable[..., Any], inputs: Sequence[Tensor], origins: Origins) -> fx.GraphModule:
    make = make_fx(function, table(), tracing_mode="fake", _allow_non_fake_inputs=True)
    try:
        # Attention by its formula; recurrent layers by theirs.
        with sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            found: fx.GraphModule = make(*inputs)
    except CannotExport as error:
        where = f"{origins.current}: " if origins.current else ""
        raise CannotExport(f"{where}{error}") from error
    except Exception as error:  # whatever the user's code or torch raises on tensors without values
        first = str(error).strip().partition("\n")[0]
        raise CannotExport(
            f"{origins.current or 'the loss, the step or a backward pass'} cannot be written as a graph:"
            f" {type(error).__name__}: {first}"
        ) from error
    return found


def _in_place(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)
