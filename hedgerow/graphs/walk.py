"""A graph, walked node by node without running it: what each value is, and how much memory a run takes."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, final

from hedgerow.graphs.allowed import OPERATORS
from hedgerow.graphs.errors import BadGraphs
from hedgerow.graphs.protobuf import Bytes, collect, fields, text
from hedgerow.graphs.values import DTYPES, Call, Value
from hedgerow.wording import shown

_MOST_NODES, _MOST_NAMES, _MOST_DIMS, _DEEPEST = 50_000, 4096, 16, 3
_NONE = memoryview(b"")

_RUNTIME, _ARENA = 16 * 2**20, 4
"""Bytes that ONNX Runtime takes whatever it runs, and how many times what is alive at once it takes at most.

It runs nodes in an order of its own, and keeps what it has freed in blocks that double. Both numbers are held
to what was measured, by `tests/laws/test_graph_memory.py`.
"""

_FORMS = {1: "f", 2: "i", 3: "s", 4: "t", 5: "g", 7: "ints"}
"""The field that holds an attribute, by its type."""


@final
class Walk:
    """A walk through a graph, in the order of its nodes.

    Args:
        graph: the bytes of ONNX's `GraphProto`.
        allowed: bytes that a run may take.
        outer: the walk through the graph around it, of a loop's body.
        given: what the body is given, in order.

    Attributes:
        inputs, outputs: what the graph takes and gives, by name.
        needed: bytes that a run takes at most.
        working: bytes that are alive at once.

    Raises:
        BadGraphs: the graph is none that `hedgerow export` writes, or needs more; naming what for.
    """

    def __init__(
        self, graph: Bytes, allowed: int, outer: "Walk | None" = None, given: Sequence[Value] = ()
    ) -> None:
        self._allowed, self._outer, self._given = allowed, outer, given
        self._depth: int = 1 if outer is None else outer._depth + 1
        if self._depth > _DEEPEST:
            raise BadGraphs(f"it has graphs within graphs, more than {_DEEPEST} deep")
        self._values: dict[str, Value] = {}
        self._last: dict[str, int] = {}
        self._kept = self._live = self.needed = self.working = 0
        self.inputs: dict[str, Value] = {}
        self.outputs: dict[str, Value] = {}
        for kind, data in fields("GraphProto", graph):
            if kind in _READS:
                self._enter(kind, *_READS[kind](data))
        if outer is not None and [v[:2] for v in self.inputs.values()] != [v[:2] for v in given]:
            raise BadGraphs("a loop's body takes something else than the loop gives it")
        for number, node in enumerate(_nodes(graph)):
            if number == _MOST_NODES:
                raise BadGraphs(f"it has more than {_MOST_NODES} nodes")
            self._last |= dict.fromkeys(_reads(node), number)
        for number, node in enumerate(_nodes(graph)):
            self._step(number, _node(node))
        for name, value in self.outputs.items():
            if (found := self._values.get(name)) is None or found[:2] != value[:2]:
                raise BadGraphs(f"its output {name!r} is not what its nodes give")

    def _enter(self, kind: str, name: str, value: Value) -> None:
        """An input, output or constant of the graph."""
        if kind == "output":
            if name in self.outputs:
                raise BadGraphs(f"it has the output {name!r} twice")
            self.outputs[name] = value
            return
        self._new(name, value)
        self._kept += value.bytes
        if kind == "input":
            self.inputs[name] = value

    def _step(self, number: int, node: "_Node") -> None:
        """One node: its results, and how much memory is taken while it runs."""
        inputs = [self._known(name) for name in node.inputs]
        call = Call(node.operator, inputs, node.attributes, len(node.outputs), self._body)
        results = _results(call)
        fixed = all(value.fixed for value in call.inputs)
        for name, value in zip(node.outputs, results, strict=True):
            self._new(name, value._replace(fixed=fixed))
            if fixed:
                self._kept += value.bytes
            else:
                self._live += value.bytes
        alive = self._live + OPERATORS[node.operator].scratch(call, results)
        self.working = max(self.working, self._kept + alive)
        self.needed = max(self.needed, _RUNTIME + self._kept + _ARENA * alive)
        if self.needed > self._allowed:
            told = f"{math.ceil(self.needed / 2**20):,} MB; at most {self._allowed / 2**20:,g} MB"
            raise BadGraphs(f"a run of it may take {told} are allowed")
        for name in {*node.reads, *node.outputs} & self._values.keys():
            if self._last.get(name, -1) <= number and name not in self.outputs and name not in self.inputs:
                self._live -= 0 if self._values[name].fixed else self._values[name].bytes

    def _body(self, graph: Bytes, given: Sequence[Value]) -> tuple[list[Value], int]:
        """A step of a loop: what its body gives, and the bytes that it takes."""
        walk = Walk(graph, self._allowed, self, given)
        return list(walk.outputs.values()), walk.working

    def _new(self, name: str, value: Value) -> None:
        scope: Walk | None = self
        while scope is not None:
            if name in scope._values:
                raise BadGraphs(f"the name {name!r} stands for two values")
            scope = scope._outer
        self._values[name] = value

    def _known(self, name: str) -> Value:
        if name in self._values:
            return self._values[name]
        if self._outer is None:
            raise BadGraphs(f"a node takes {name!r} before anything gives it")
        return self._outer._known(name)


class _Node(NamedTuple):
    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    reads: list[str]


def _nodes(graph: Bytes) -> Iterator[Bytes]:
    return (value for name, value in fields("GraphProto", graph) if name == "node")


def _reads(node: Bytes, depth: int = 1) -> list[str]:
    """The names that a node takes, also within its loops' bodies."""
    found = []
    for field, value in fields("NodeProto", node):
        if field == "input":
            found.append(text(value))
        elif field == "attribute" and depth <= _DEEPEST:
            for name, graph in fields("AttributeProto", value):
                if name == "g":
                    found += [each for inner in _nodes(graph) for each in _reads(inner, depth + 1)]
    return found


def _node(data: Bytes) -> _Node:
    found = _Node("", [], [], {}, _reads(data))
    for field, value in fields("NodeProto", data):
        if field == "op_type":
            found = found._replace(operator=_operator(value))
        elif field == "attribute":
            name, given = _attribute(value)
            found.attributes[name] = given
        else:
            (found.inputs if field == "input" else found.outputs).append(text(value))
        if max(len(found.inputs), len(found.outputs)) > _MOST_NAMES:
            raise BadGraphs(f"a node has more than {_MOST_NAMES} inputs or outputs")
    if not found.operator:
        raise BadGraphs("a node has no operator")
    return found


def _operator(data: Bytes) -> str:
    name = text(data)
    if name not in OPERATORS:
        raise BadGraphs(f"it uses the operator {shown(name)}, which is not on the list of those allowed")
    return name


def _results(call: Call) -> list[Value]:
    """What a node gives; raises `BadGraphs` where it may not stand there."""
    operator = OPERATORS[call.operator]
    least, most = operator.inputs
    if not least <= len(call.inputs) <= most:
        raise call.refuse(f"has {len(call.inputs)} inputs")
    if more := sorted(set(call.attributes) - operator.attributes):
        raise call.refuse(f"has the attribute {shown(more[0])}, which no export writes")
    found = list(operator.results(call))
    if len(found) != call.outputs or any(n < 0 for value in found for n in value.shape):
        raise call.refuse(f"cannot give {call.outputs} results of these shapes")
    return found


def _attribute(data: Bytes) -> tuple[str, Any]:
    given = collect("AttributeProto", data)
    name, form = text(given.get("name", _NONE)), _FORMS.get(given.get("type", 0), "")
    others = {key for key, value in given.items() if key not in ("name", "type", form) and value != []}
    if form not in given or others:
        raise BadGraphs(f"an attribute {shown(name)} is of a type that no export writes")
    return name, _tensor(given["t"], "value")[1] if form == "t" else given[form]


def _tensor(data: Bytes, name: str = "") -> tuple[str, Value]:
    """Name and value of a constant, whose numbers lie in the graph."""
    given = collect("TensorProto", data, _MOST_DIMS)
    value = _value(given.get("data_type"), given["dims"])
    raw = given.get("raw_data", _NONE)
    if len(raw) != value.bytes:
        raise BadGraphs("a constant has not as many numbers as its shape says")
    return name or text(given.get("name", _NONE)), value._replace(data=raw, fixed=True)


def _info(data: Bytes) -> tuple[str, Value]:
    """Name and form of an input or output."""
    given = collect("ValueInfoProto", data)
    kind = collect("Tensor", collect("TypeProto", given.get("type", _NONE)).get("tensor_type", _NONE))
    dims = collect("TensorShapeProto", kind.get("shape", _NONE), _MOST_DIMS)["dim"]
    sizes = [collect("Dimension", dim).get("dim_value", -1) for dim in dims]
    return text(given.get("name", _NONE)), _value(kind.get("elem_type"), sizes)


def _value(kind: Any, shape: list[int]) -> Value:
    if (dtype := DTYPES.get(kind)) is None:
        raise BadGraphs("it has a dtype that no export writes")
    if min(shape, default=0) < 0:
        raise BadGraphs("it has a shape that is not known beforehand")
    return Value(tuple(shape), dtype)


_READS = {"initializer": _tensor, "input": _info, "output": _info}
