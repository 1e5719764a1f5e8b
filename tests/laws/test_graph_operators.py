"""What a graph may use is what an export writes, and every value's shape is known before a run."""

import ast
from pathlib import Path

import onnx
import torch

import hedgerow.export
from hedgerow.graphs.allowed import OPERATORS
from hedgerow.graphs.inspection import graph_of
from hedgerow.graphs.protobuf import MESSAGES
from hedgerow.graphs.values import DTYPES, SIZES
from hedgerow.graphs.walk import Walk
from tests.laws.export_cases import cases
from tests.laws.test_export_operators import written

NAMES_ONLY = {"Constant"}
"""ONNX's name in the name of a value; a constant is no node here."""

LOOPS = {"Scan"}
"""Of a recurrent model, over time."""


def test_the_list_of_operators_is_what_an_export_writes():
    texts = {
        node.value
        for file in Path(hedgerow.export.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert {text for text in texts if onnx.defs.has(text)} - NAMES_ONLY | LOOPS == set(OPERATORS)


def test_fields_have_the_numbers_and_kinds_of_onnx():
    nested = {"Tensor": onnx.TypeProto.Tensor, "Dimension": onnx.TensorShapeProto.Dimension}
    for message, fields in MESSAGES.items():
        theirs = (nested.get(message) or getattr(onnx, message)).DESCRIPTOR.fields_by_number
        for number, (name, kind, repeated) in fields.items():
            field = theirs[number]
            there = field.message_type.name if field.message_type else field.type
            assert (field.name, field.is_repeated) == (name, repeated)
            kinds = {"int": (3, 5, 14), "float": (2,), "bytes": (9, 12)}
            assert there in kinds.get(kind, (kind,)), (message, name)


def test_dtypes_have_the_numbers_and_sizes_of_onnx():
    found = {n: onnx.helper.tensor_dtype_to_np_dtype(n) for n in DTYPES}
    assert {number: dtype.name for number, dtype in found.items()} == DTYPES
    assert {dtype.name: dtype.itemsize for dtype in found.values()} == SIZES


def test_each_operator_that_is_written_is_walked_to_the_shape_that_torch_gives():
    tried = set()
    for name, (args, kwargs) in cases(2, torch.float32):
        graph, _ = graph_of(written(name, args, kwargs)[0])
        walk = Walk(graph, 2**30)  # refuses a result that is not of the form that it is declared to have
        assert walk.outputs, name
        tried |= {node.op_type for node in onnx.GraphProto.FromString(bytes(graph)).node}
    assert set(OPERATORS) - tried <= {"Mod", *LOOPS}
