"""What is known of a value in a graph before it runs, and of a call of an operator."""

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hedgerow.graphs.errors import BadGraphs
from hedgerow.graphs.protobuf import Bytes

DTYPES = {1: "float32", 2: "uint8", 6: "int32", 7: "int64", 9: "bool", 11: "float64"}
"""The dtypes that an export writes, by ONNX's number."""

SIZES = {"float32": 4, "uint8": 1, "int32": 4, "int64": 8, "bool": 1, "float64": 8}

_MOST_NUMBERS = 64

Shape = tuple[int, ...]


class Value(NamedTuple):
    """A tensor.

    Attributes:
        shape: all sizes are known.
        dtype: numpy's name.
        data: of a constant, as the graph holds it; `None` where only a run shows it.
        fixed: whether it is the same in every run, so that ONNX Runtime may compute it once and keep it.
    """

    shape: Shape
    dtype: str
    data: Bytes | None = None
    fixed: bool = False

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return self.size * SIZES[self.dtype]


@dataclass(frozen=True)
class Call:
    """A node: an operator and what it is given.

    Attributes:
        operator: its name.
        inputs: what is known of each.
        attributes: by name: whole numbers, lists of them, texts, numbers or tensors.
        outputs: how many it gives.
        within: `(a graph's bytes, its inputs) -> (its results, bytes that it takes)`, of a loop's body.
    """

    operator: str
    inputs: Sequence[Value]
    attributes: Mapping[str, Any]
    outputs: int
    within: Callable[[Bytes, Sequence[Value]], tuple[list[Value], int]]

    @property
    def x(self) -> Value:
        """The first input."""
        return self.inputs[0]

    def refuse(self, why: str) -> BadGraphs:
        """The error for this node."""
        return BadGraphs(f"a node {self.operator} {why}")

    def body(self, name: str, inputs: Sequence[Value]) -> tuple[list[Value], int]:
        """What a graph among the attributes gives, and the memory that it takes; raises `BadGraphs`."""
        if not isinstance(found := self.attributes.get(name), memoryview):
            raise self.refuse(f"has no graph {name}")
        return self.within(found, inputs)

    def whole(self, name: str, default: int | None = None) -> int:
        """A whole number among the attributes."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise self.refuse(f"has no whole number {name}")
        return value

    def wholes(self, name: str, length: int) -> list[int]:
        """A list of whole numbers, one for each of some dimensions."""
        value = self.attributes.get(name)
        if not isinstance(value, list) or len(value) != length:
            raise self.refuse(f"has no {length} whole numbers {name}")
        return value

    def axis(self, number: int, rank: int) -> int:
        """A dimension, counted from the front."""
        if not -rank <= number < rank:
            raise self.refuse(f"has the dimension {number}, and its value has {rank}")
        return number % rank

    def numbers(self, place: int) -> list[int]:
        """The whole numbers of an input that decides shapes; it must be a constant of the graph."""
        value = self.inputs[place]
        if value.data is None or value.dtype != "int64" or value.rank > 1 or value.size > _MOST_NUMBERS:
            raise self.refuse("takes a shape from what is no short list of constant whole numbers")
        return [each for (each,) in struct.iter_unpack("<q", value.data)]

    def like(self, *shapes: Sequence[int], dtype: str = "") -> list[Value]:
        """Results of these shapes, in the first input's dtype or another."""
        return [Value(tuple(shape), dtype or self.x.dtype) for shape in shapes]

    def broadcast(self, *values: Value) -> Shape:
        """The shape of several values together (ONNX's multidirectional broadcasting)."""
        rank = max(value.rank for value in values)
        wide = [(1,) * (rank - value.rank) + value.shape for value in values]
        found = tuple(next((n for n in sizes if n != 1), 1) for sizes in zip(*wide, strict=True))
        for sizes in wide:
            if any(n not in (1, whole) for n, whole in zip(sizes, found, strict=True)):
                raise self.refuse("is given shapes that do not fit together")
        return found
