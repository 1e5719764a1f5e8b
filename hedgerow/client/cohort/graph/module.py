"""A user's module, for many clients side by side.

Layers and functions that have a batched form use it (`LAYERS`, `FUNCTIONS`); all
others go through `torch.vmap`, and so does a whole module that cannot be traced.
"""

import copy
import operator
from collections.abc import Callable, Set
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from hedgerow.client.cohort.graph.tracing import first_layer, first_names, tensors, trace, used_once
from hedgerow.client.cohort.low_rank.wide_layer import WideLayer
from hedgerow.client.cohort.ops.attention import encoder, encoders
from hedgerow.client.cohort.ops.dropout import DROPOUTS, dropout
from hedgerow.client.cohort.ops.functions import ATTRIBUTES, FACTS, FUNCTIONS
from hedgerow.client.cohort.ops.layers import LAYERS, Layer
from hedgerow.client.cohort.ops.recurrent import recurrent
from hedgerow.client.cohort.step import CannotBatch, Step
from hedgerow.client.torch.modes import Modes
from hedgerow.types import Layout

_LAYERS: dict[type[nn.Module], Any] = {
    **LAYERS,
    nn.GRU: recurrent,
    nn.LSTM: recurrent,
    nn.TransformerEncoderLayer: encoder,
    nn.TransformerEncoder: encoders,
}
_IMAGES = (nn.Conv1d, nn.Conv2d, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)

Values = dict[fx.Node, Any]
Run = Callable[[Step, Values], Any]
"""Computes one node from those before it."""


class BatchedModule:
    """A module that is computed for many clients side by side, each with its own parameters.

    Args:
        module: taken over, and put in training mode, except for layers that its author keeps out of it.
        layout: of its parameters, buffers and constants.

    Raises:
        CannotBatch: it has hooks, keeps state from one batch to the next, or
            changes its buffers; or it has a BatchNorm that would count padding.
    """

    def __init__(self, module: nn.Module, layout: Layout) -> None:
        Modes(module).train()
        self._graph, self.untraceable = trace(module)
        self._names = first_names(self._graph)
        self._stacked = {t.name for t in (*layout.parameters, *layout.untrained)}
        constants = {self._names[n]: t.detach() for n, t in tensors(self._graph)}
        self._constants = {n: t for n, t in constants.items() if n not in self._stacked}
        self._batched: dict[fx.Node, bool] = {}
        self._refuse_filled(module)
        self._runs = {node: self._plan(node) for node in self._graph.graph.nodes}
        layers = any(isinstance(m, nn.modules.dropout._DropoutNd) for m in module.modules())
        self.draws = layers or any(self._dropout(node) for node in self._graph.graph.nodes)
        """Whether each client needs draws."""
        self.images = any(isinstance(m, _IMAGES) for m in module.modules())
        """Whether the model's first layers want images in the memory order of `convolve`."""
        self.fusable = used_once(self._graph, nn.Linear) & {t.name for t in layout.parameters}
        """Parameters that layers can update themselves in the backward pass."""
        self.channels_last = frozenset(
            t.name for t in layout.parameters
            if len(t.shape) == 4 and t.name in used_once(self._graph, nn.Conv2d)
        )  # fmt: skip
        """Weights of convolutions, which torch's kernels want in channels-last order."""
        self.first_layer, self._before_first = first_layer(self._graph, self._names, self.fusable)
        """The linear layer that takes the data directly, if there is one."""
        self.wide_layers: tuple[WideLayer, ...] = ()
        """Linear layers that need no weights if they are wide; known once data has been observed."""

    def __call__(self, step: Step, x: Tensor | None) -> Any:
        """Outputs of all clients, `(clients, rows, ...)`."""
        values: Values = {}
        for node, run in self._runs.items():
            given = node.op == "placeholder" or (step.first is not None and node in self._before_first)
            values[node] = x if given else run(step, values)
        return values[node]

    def observe(self, x: Tensor) -> None:
        """Record how many vectors go through each linear layer when a single client is computed.

        Args:
            x: a batch of one client, as `TorchTrainer` makes it.
        """
        linear = {
            n.name: n for n in self._graph.graph.nodes
            if n.op == "call_module" and type(self._graph.get_submodule(str(n.target))) is nn.Linear
            and len(n.all_input_nodes) == len(n.args) == 1
        }  # fmt: skip
        shapes: dict[str, torch.Size] = {}
        with torch.no_grad():
            _Observer(copy.deepcopy(self._graph), linear.keys(), shapes).run(x)
        found = []
        for name, node in linear.items():
            layer = cast(nn.Linear, self._graph.get_submodule(str(node.target)))
            names = {n: self._names[f"{node.target}.{n}"] for n, _ in tensors(layer)}
            if self._batched[node.all_input_nodes[0]] and self.fusable.issuperset(names.values()):
                vectors, left = divmod(shapes[name][:-1].numel(), len(x))
                if not left:
                    sizes = layer.in_features, layer.out_features
                    found.append(WideLayer(names["weight"], names.get("bias"), *sizes, vectors))
        self.wide_layers = tuple(found)

    def _refuse_filled(self, module: nn.Module) -> None:
        """Refuse a BatchNorm whose statistics would include padding."""
        for name, m in module.named_modules():
            if isinstance(m, nn.modules.batchnorm._BatchNorm) and (m.training or m.running_mean is None):
                alone = type(m) in _LAYERS and _LAYERS[type(m)](m) is not None
                if self.untraceable or not alone:
                    raise CannotBatch(f"the BatchNorm layer {name!r} has no form for several clients")

    def _plan(self, node: fx.Node) -> Run:
        inputs = [n for n in node.all_input_nodes if self._batched[n]]
        self._batched[node] = bool(inputs) or node.op == "placeholder"
        if node.op == "get_attr":
            return self._attribute(node)
        if node.op == "call_module":
            return self._module(node, inputs)
        if node.op in ("call_function", "call_method"):
            return self._function(node, inputs)
        return lambda step, values: _arguments(node, values)[0][0]

    def _attribute(self, node: fx.Node) -> Run:
        name = self._names.get(str(node.target), "")
        self._batched[node] = name in self._stacked
        if name in self._stacked:
            return lambda step, values: step.tensors[name]
        value = operator.attrgetter(str(node.target))(self._graph)
        return lambda step, values: value

    def _module(self, node: fx.Node, inputs: list[fx.Node]) -> Run:
        module = self._graph.get_submodule(str(node.target))
        names = {n: self._names[f"{node.target}.{n}"] for n, _ in tensors(module)}
        self._batched[node] = bool(inputs) or not self._stacked.isdisjoint(names.values())
        if len(node.args) == 1 and not node.kwargs and inputs == [node.args[0]]:
            x = inputs[0]
            if self._dropout(node):
                p = cast(float, module.p) if module.training else 0.0
                return self._drop(node, p, DROPOUTS[type(module)])
            layer = _LAYERS[type(module)](module) if type(module) in _LAYERS else None
            if layer is not None and type(module) is nn.Linear:
                return lambda step, values: self._linear(step, names, values[x], layer)
            if layer is not None:
                return lambda step, values: layer(step, names, values[x])

        def call(own: dict[str, Tensor], args: Any, kwargs: Any) -> Any:
            return torch.func.functional_call(module, own, args, kwargs)

        return self._through_vmap(node, inputs, call, names)

    def _linear(self, step: Step, names: dict[str, str], x: Tensor | None, layer: Layer) -> Tensor:
        weight, bias = names["weight"], step.tensors[names["bias"]] if "bias" in names else None
        if step.first is not None and self.first_layer and weight == self.first_layer.weight:
            x = step.first(bias)
        elif weight in step.wide:
            x = step.wide[weight](x, bias)
        else:
            x = layer(step, names, cast(Tensor, x))
        return cast(Tensor, x)

    def _function(self, node: fx.Node, inputs: list[fx.Node]) -> Run:
        target: Any = node.target

        def call(own: Any, args: Any, kwargs: Any) -> Any:
            return (
                getattr(args[0], target)(*args[1:], **kwargs)
                if isinstance(target, str)
                else target(*args, **kwargs)
            )

        if not inputs:
            return lambda step, values: call({}, *_arguments(node, values))
        if target in FACTS and (target is not getattr or node.args[1] in ATTRIBUTES):
            self._batched[node] = False
            return lambda step, values: _apply(FACTS[target], node, values)
        if target is nn.functional.dropout and inputs == node.all_input_nodes:
            given = dict(zip(("input", "p", "training"), node.args, strict=False)) | dict(node.kwargs)
            on = given.get("training", True) is True
            return self._drop(node, float(given.get("p", 0.5)) if on else 0.0, False)  # type: ignore[arg-type]
        if target in FUNCTIONS and all(self._batched[n] or _number(n) for n in node.all_input_nodes):
            return lambda step, values: _apply(FUNCTIONS[target], node, values)
        return self._through_vmap(node, inputs, call, {})

    def _through_vmap(self, node: fx.Node, inputs: list[fx.Node], call: Any, names: dict[str, str]) -> Run:
        constants = {n: self._constants[full] for n, full in names.items() if full not in self._stacked}
        stacked = {n: full for n, full in names.items() if full in self._stacked}

        def run(step: Step, values: Values) -> Any:
            if node.target is operator.getitem and isinstance(values[inputs[0]], (tuple, list)):
                return _apply(operator.getitem, node, values)

            def one(own: dict[str, Tensor], given: list[Any]) -> Any:
                mine = dict(zip(inputs, given, strict=True))
                # Clones, so that a module's changes to its constants do not reach another batch.
                rest = {n: t.clone() for n, t in constants.items()}
                return call({**own, **rest}, *_arguments(node, {**values, **mine}))

            own = {n: step.tensors[full] for n, full in stacked.items()}
            given = [values[n] for n in inputs]
            return torch.vmap(one, randomness="error")(own, given)

        return run

    def _dropout(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return type(self._graph.get_submodule(str(node.target))) in DROPOUTS
        return node.target is nn.functional.dropout

    def _drop(self, node: fx.Node, p: float, channels: bool) -> Run:
        x = node.all_input_nodes[0]
        if not p:
            return lambda step, values: values[x]
        return lambda step, values: dropout(step, values[x], p, channels=channels)


class _Observer(fx.Interpreter):
    """Records the shape of some nodes' inputs."""

    def __init__(self, graph: fx.GraphModule, watched: Set[str], shapes: dict[str, torch.Size]) -> None:
        super().__init__(graph)
        self._watched, self._shapes = watched, shapes

    def run_node(self, n: fx.Node) -> Any:
        """Run a node, and record its input."""
        if n.name in self._watched:
            self._shapes[n.name] = self.env[n.all_input_nodes[0]].shape
        return super().run_node(n)


def _arguments(node: fx.Node, values: Values) -> tuple[Any, Any]:
    args, kwargs = (fx.node.map_arg(a, values.__getitem__) for a in (node.args, node.kwargs))
    return args, kwargs


def _apply(function: Callable[..., Any], node: fx.Node, values: Values) -> Any:
    args, kwargs = _arguments(node, values)
    return function(*args, **kwargs)


def _number(node: fx.Node) -> bool:
    """Whether a node that all clients share is a size, or computed from sizes."""
    if node.op not in ("call_function", "call_method"):
        return False
    arithmetic = getattr(node.target, "__module__", "") == "_operator"
    return node.target in FACTS or (arithmetic and all(_number(n) for n in node.all_input_nodes))
