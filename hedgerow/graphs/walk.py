"""A graph, walked node by node without running it: what each value is, and how much memory a run takes."""

from collections.abc import Iterator
from typing import Any, NamedTuple, final

from hedgerow.graphs.errors import BadGraphs
from hedgerow.graphs.operators import OPERATORS
from hedgerow.graphs.protobuf import Bytes, collect, fields, text
from hedgerow.graphs.values import DTYPES, Call, Value
from hedgerow.wording import shown

_MOST_NODES, _MOST_NAMES, _MOST_DIMS = 50_000, 4096, 16
_NONE = memoryview(b"")

_ARENA = 2
"""ONNX Runtime keeps what it has freed in pieces, and asks for more where none fits."""

_FORMS = {1: "f", 2: "i", 3: "s", 4: "t", 7: "ints"}
"""The field that holds an attribute, by its type."""


@final
class Walk:
    """A walk through a graph, in the order of its nodes.

    Args:
        graph: the bytes of ONNX's `GraphProto`.
        allowed: bytes that a run may take.

    Attributes:
        inputs, outputs: what the graph takes and gives, by name.
        needed: bytes that a run takes at most.

    Raises:
        BadGraphs: the graph is none that `hedgerow export` writes, or needs more; naming what for.
    """

    def __init__(self, graph: Bytes, allowed: int) -> None:
        self._allowed = allowed
        self._values: dict[str, Value] = {}
        self._last: dict[str, int] = {}
        self._kept = self._live = self.needed = 0
        self.inputs: dict[str, Value] = {}
        self.outputs: dict[str, Value] = {}
        for kind, data in fields("GraphProto", graph):
            if kind in _READS:
                self._enter(kind, *_READS[kind](data))
        for number, node in enumerate(_nodes(graph)):
            if number == _MOST_NODES:
                raise BadGraphs(f"it has more than {_MOST_NODES} nodes")
            self._last |= dict.fromkeys(_inputs(node), number)
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
        call = Call(node.operator, [self._known(n) for n in node.inputs], node.attributes, len(node.outputs))
        results = _results(call)
        fixed = all(value.fixed for value in call.inputs)
        for name, value in zip(node.outputs, results, strict=True):
            self._new(name, value._replace(fixed=fixed))
            if fixed:
                self._kept += value.bytes
            else:
                self._live += value.bytes
        working = self._live + OPERATORS[node.operator].scratch(call, results)
        self.needed = max(self.needed, self._kept + _ARENA * working)
        if self.needed > self._allowed:
            told = f"{self.needed / 2**20:,.0f} MB; at most {self._allowed / 2**20:,g} MB"
            raise BadGraphs(f"a run of it may take {told} are allowed")
        for name in {*node.inputs, *node.outputs}:
            if self._last.get(name, -1) <= number and name not in self.outputs and name not in self.inputs:
                self._live -= 0 if self._values[name].fixed else self._values[name].bytes

    def _new(self, name: str, value: Value) -> None:
        if name in self._values:
            raise BadGraphs(f"the name {name!r} stands for two values")
        self._values[name] = value

    def _known(self, name: str) -> Value:
        if name not in self._values:
            raise BadGraphs(f"a node takes {name!r} before anything gives it")
        return self._values[name]


class _Node(NamedTuple):
    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]


def _nodes(graph: Bytes) -> Iterator[Bytes]:
    return (value for name, value in fields("GraphProto", graph) if name == "node")


def _inputs(node: Bytes) -> list[str]:
    return [text(value) for name, value in fields("NodeProto", node) if name == "input"]


def _node(data: Bytes) -> _Node:
    found = _Node("", [], [], {})
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
