"""A user's module as a graph, and what can be told from it before anything is computed."""

import operator
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from hedgerow import generators
from hedgerow.client.cohort.low_rank.first_layer import FirstLayer
from hedgerow.client.cohort.step import CannotBatch, SharedDraws

_IN_PLACE = {operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.setitem}


class _Root(nn.Module):
    """A parent for the model, so that a model that is a single layer is traced as a layer."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Any) -> Any:
        """The model's outputs."""
        return self.model(x)


class _Tracer(fx.Tracer):
    proxy_buffer_attributes = True


def trace(module: nn.Module) -> tuple[fx.GraphModule, str]:
    """The module as a graph; and if it cannot be traced, a graph of one node and the reason.

    Raises:
        CannotBatch: it has hooks, keeps state outside its buffers from one
            batch to the next, or changes its buffers.
        SharedDraws: it draws while it is traced, so that what should be drawn for
            each batch would become a constant of the graph.
    """
    root = _Root(module)
    if any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in module.modules()):
        raise CannotBatch("the model has hooks")
    before = _attributes(module)
    generators.mark()
    try:
        graph, why = _Tracer().trace(root), ""
    except Exception as error:  # whatever the user's code raises on proxies instead of tensors
        graph, why = _whole(), f"{type(error).__name__}: {error}"
    if generators.drawn():
        raise SharedDraws
    if _attributes(module) != before:
        raise CannotBatch("the model keeps state from one batch to the next")
    for node in graph.nodes:
        _refuse_changed_constants(node)
    return fx.GraphModule(root, graph), why


def first_names(module: nn.Module) -> dict[str, str]:
    """The first name of each tensor of a traced module, by each of its names in the graph."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(t), name.removeprefix("model.")) for name, t in tensors(module)}


def tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All parameters and buffers, under all their names."""
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def used_once(graph: fx.GraphModule, layer: type[nn.Module]) -> frozenset[str]:
    """Tensors that are used exactly once, by a layer of this type."""
    names = first_names(graph)
    uses: dict[str, int] = {}
    candidates: set[str] = set()
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            used = {names[str(node.target)]} if str(node.target) in names else set()
        elif node.op == "call_module":
            module = graph.get_submodule(str(node.target))
            used = {names[f"{node.target}.{n}"] for n, _ in tensors(module)}
            candidates |= used if type(module) is layer else set()
        else:
            continue
        for name in used:
            uses[name] = uses.get(name, 0) + 1
    return frozenset(name for name in candidates if uses[name] == 1)


def first_layer(
    graph: fx.GraphModule, names: Mapping[str, str], free: frozenset[str]
) -> tuple[FirstLayer | None, frozenset[fx.Node]]:
    """The linear layer that takes the data directly, or only flattened, and the nodes before it.

    Args:
        graph: of the model.
        names: first names of its tensors.
        free: names of tensors that are used only once.
    """
    node = next(n for n in graph.graph.nodes if n.op == "placeholder")
    before = []
    while len(node.users) == 1:
        before.append(node)
        node = next(iter(node.users))
        if node.op == "call_module" and type(graph.get_submodule(str(node.target))) is nn.Linear:
            layer = graph.get_submodule(str(node.target))
            own = {n: names[f"{node.target}.{n}"] for n, _ in tensors(layer)}
            if not free.issuperset(own.values()) or node.kwargs:
                break
            sizes = layer.in_features, layer.out_features
            found = FirstLayer(own["weight"], own.get("bias"), *sizes, flattens=len(before) > 1)  # type: ignore[arg-type]
            return found, frozenset(before)
        if not _flattens(graph, node):
            break
    return None, frozenset()


def _flattens(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node only flattens each sample to a vector."""
    if node.op == "call_module":
        module = graph.get_submodule(str(node.target))
        return isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1)
    return node.target in (torch.flatten, "flatten") and node.args[1:] == (1,) and not node.kwargs


def _whole() -> fx.Graph:
    """The model as a single node."""
    graph = fx.Graph()
    graph.output(graph.call_module("model", (graph.placeholder("x"),)))
    return graph


def _attributes(module: nn.Module) -> list[dict[str, int]]:
    """The attributes of the modules, by identity."""
    return [
        {name: id(value) for kept in (vars(m), m._parameters, m._buffers) for name, value in kept.items()}
        for m in module.modules()
    ]


def _refuse_changed_constants(node: fx.Node) -> None:
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    changes = (name.endswith("_") and not name.endswith("__")) or node.target in _IN_PLACE
    first = node.args[0] if node.args else None
    if changes and isinstance(first, fx.Node) and first.op == "get_attr":
        raise CannotBatch(f"the model changes its buffer {str(first.target).removeprefix('model.')!r}")
