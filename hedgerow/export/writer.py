"""Nodes of an ONNX graph, one after another, each with the shape and dtype of what it gives."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import helper, numpy_helper

from hedgerow.graphs.inspection import IR_VERSION, OPSET


@final
@dataclass(frozen=True)
class Value:
    """A tensor in the graph.

    Attributes:
        name: of it in the graph.
        shape: all sizes are known.
        dtype: numpy's.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)


@final
class Writer:
    """Writes a graph, or the body of a loop in one.

    Equal constants, and equal nodes, are written once.

    Args:
        prefix: of every name in here, so that the names of a loop's body are its own.

    >>> to = Writer()
    >>> x = to.input("x", (2, 3), np.float32)
    >>> to.transpose(x, (1, 0)).shape
    (3, 2)
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._constants: dict[tuple[Any, ...], Value] = {}
        self._tensors: list[onnx.TensorProto] = []
        self._made: dict[tuple[Any, ...], tuple[Value, ...]] = {}
        self._number = 0
        self.draws: dict[str, dict[str, Any]] = {}
        """Inputs of zeros and ones, in order: the `probability` of a one, and the `axis` of the samples."""

    def body(self) -> "Writer":
        """A writer for the body of a loop in this graph."""
        return Writer(f"{self._name('body')}/")

    def named(self, name: str) -> str:
        """A name that belongs to this graph, in a loop to its body."""
        return self._prefix + name

    def input(self, name: str, shape: Sequence[int], dtype: DTypeLike) -> Value:
        """An input of the graph."""
        value = Value(name, tuple(shape), np.dtype(dtype))
        self._inputs.append(_info(value))
        return value

    def draw(self, shape: Sequence[int], dtype: DTypeLike, probability: float, axis: int | None) -> Value:
        """An input of zeros and ones, each a one with that probability, to be drawn for every run."""
        name = f"draw_{len(self.draws)}"
        self.draws[name] = {"probability": probability, "axis": axis}
        return self.input(name, shape, dtype)

    def constant(self, array: Any, dtype: DTypeLike | None = None) -> Value:
        """A tensor of the graph's own; of one value repeated, only that value is stored."""
        found: NDArray[Any] = np.asarray(array, dtype)
        key = found.dtype.str, found.shape, found.tobytes()
        if key not in self._constants:
            self._constants[key] = self._stored(found)
        return self._constants[key]

    def many(
        self,
        op: str,
        inputs: Sequence[Value],
        forms: Sequence[tuple[Sequence[int], DTypeLike]],
        **attributes: Any,
    ) -> tuple[Value, ...]:
        """A node with an output for each form `(shape, dtype)`."""
        attributes = {name: value for name, value in attributes.items() if value is not None}
        key = (op, tuple(v.name for v in inputs), len(forms), repr(sorted(attributes.items())))
        graphs = any(isinstance(value, onnx.GraphProto) for value in attributes.values())
        if key in self._made and not graphs:
            return self._made[key]
        outputs = tuple(Value(self._name(op), tuple(shape), np.dtype(dtype)) for shape, dtype in forms)
        node = helper.make_node(op, [v.name for v in inputs], [v.name for v in outputs], **attributes)
        self._nodes.append(node)
        self._made[key] = outputs
        return outputs

    def node(
        self, op: str, inputs: Sequence[Value], shape: Sequence[int], dtype: DTypeLike, **attributes: Any
    ) -> Value:
        """A node with one output."""
        return self.many(op, inputs, [(shape, dtype)], **attributes)[0]

    def cast(self, value: Value, dtype: DTypeLike) -> Value:
        """The value in another dtype; as it is where it has that."""
        kind = np.dtype(dtype)
        if value.dtype == kind:
            return value
        return self.node("Cast", [value], value.shape, kind, to=helper.np_dtype_to_tensor_dtype(kind))

    def operand(self, given: Any, dtype: DTypeLike) -> Value:
        """A value, or a number as a constant, in a dtype."""
        return self.cast(given, dtype) if isinstance(given, Value) else self.constant(given, dtype)

    def map(self, op: str, *inputs: Value, dtype: DTypeLike | None = None) -> Value:
        """A node that works on each element; the inputs' shapes are broadcast."""
        shape = np.broadcast_shapes(*(v.shape for v in inputs))
        return self.node(op, inputs, shape, inputs[-1].dtype if dtype is None else dtype)

    def reshape(self, value: Value, shape: Sequence[int]) -> Value:
        """The value in another shape, of as many elements."""
        if tuple(shape) == value.shape:
            return value
        return self.node(
            "Reshape", [value, self.sizes(shape)], shape, value.dtype, allowzero=1 if 0 in shape else None
        )

    def transpose(self, value: Value, order: Sequence[int]) -> Value:
        """The value with its dimensions in another order."""
        if list(order) == list(range(value.rank)):
            return value
        shape = [value.shape[k] for k in order]
        return self.node("Transpose", [value], shape, value.dtype, perm=list(order))

    def expand(self, value: Value, shape: Sequence[int]) -> Value:
        """The value repeated to a shape that it broadcasts to."""
        if tuple(shape) == value.shape:
            return value
        return self.node("Expand", [value, self.sizes(shape)], shape, value.dtype)

    def slice(self, value: Value, dim: int, start: int, end: int, step: int = 1) -> Value:
        """The part of a dimension from `start` to before `end`, both from 0; as it is where that is all."""
        if (start, end, step) == (0, value.shape[dim], 1):
            return value
        shape = [*value.shape]
        shape[dim] = len(range(start, end, step))
        places = [self.sizes([each]) for each in (start, end, dim, step)]
        return self.node("Slice", [value, *places], shape, value.dtype)

    def concat(self, values: Sequence[Value], dim: int) -> Value:
        """Values one after another in a dimension."""
        if len(values) == 1:
            return values[0]
        shape = [*values[0].shape]
        shape[dim] = sum(v.shape[dim] for v in values)
        return self.node("Concat", values, shape, values[0].dtype, axis=dim)

    def reduce(self, op: str, value: Value, dims: Sequence[int], keep: bool) -> Value:
        """A reduction over dimensions."""
        shape = [1 if k in dims else n for k, n in enumerate(value.shape) if keep or k not in dims]
        if not dims:
            return value
        return self.node(op, [value, self.sizes(dims)], shape, value.dtype, keepdims=int(keep))

    def sizes(self, numbers: Sequence[int]) -> Value:
        """Whole numbers as a constant `(n,) int64`."""
        return self.constant(list(numbers), np.int64)

    def graph(self, name: str, outputs: Sequence[tuple[str, Value]]) -> onnx.GraphProto:
        """The graph, with its outputs by name; nodes that no output needs are left out."""
        wanted = {output for output, _ in outputs}
        nodes = _needed([*self._nodes, *self._renamed(outputs)], set(wanted))
        read = wanted.union(*map(_reads, nodes))
        for node in nodes:
            if node.op_type == "MaxPool" and node.output[-1] not in read:
                del node.output[-1]  # the places, without which it is several times as fast
        infos = [_info(Value(output, value.shape, value.dtype)) for output, value in outputs]
        tensors = [t for t in self._tensors if t.name in read]
        return helper.make_graph(nodes, name, self._inputs, infos, tensors)

    def _renamed(self, outputs: Sequence[tuple[str, Value]]) -> list[onnx.NodeProto]:
        """Have nodes give outputs under their names; what no node gives, or a loop reads too, is copied."""
        free = {name for node in self._nodes for name in node.output}
        free -= {name for node in self._nodes for name in _reads_inside(node)}
        names: dict[str, str] = {}
        copies = []
        for output, value in outputs:
            if value.name in free and value.name not in names:
                names[value.name] = output
            else:
                copies.append((value.name, output))
        for node in self._nodes:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        return [helper.make_node("Identity", [names.get(name, name)], [output]) for name, output in copies]

    def _stored(self, array: NDArray[Any]) -> Value:
        name = self._name("Constant")
        if array.size > 8 and bool((array == array.reshape(-1)[0]).all()):
            one = numpy_helper.from_array(array.reshape(-1)[:1])
            return self.node(
                "ConstantOfShape", [self.sizes(array.shape)], array.shape, array.dtype, value=one
            )
        self._tensors.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return Value(name, array.shape, array.dtype)

    def _name(self, op: str) -> str:
        self._number += 1
        return f"{self._prefix}{op.lower()}_{self._number}"


def model_of(graph: onnx.GraphProto, metadata: dict[str, str]) -> onnx.ModelProto:
    """A model that is this graph, checked, with texts by name in it."""
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="hedgerow"
    )
    helper.set_model_props(made, metadata)
    onnx.checker.check_model(made, full_check=True)
    return made


def elements(value: Value) -> int:
    """How many numbers a tensor holds."""
    return math.prod(value.shape)


def _needed(nodes: Sequence[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
    kept: list[onnx.NodeProto] = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted |= set(_reads(node))
            kept.append(node)
    return kept[::-1]


def _reads(node: onnx.NodeProto) -> list[str]:
    """What a node reads, also from within its loops' bodies."""
    return [*node.input, *_reads_inside(node)]


def _reads_inside(node: onnx.NodeProto) -> list[str]:
    """What its loops' bodies read."""
    inner = [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    return [name for graph in inner for each in graph.node for name in _reads(each)]


def _info(value: Value) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    return helper.make_tensor_value_info(value.name, kind, value.shape)
