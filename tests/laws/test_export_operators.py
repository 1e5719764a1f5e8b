"""Each operator's translator gives what torch gives."""

import operator as python
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, fx
from torch._subclasses import FakeTensorMode
from torch.utils import _pytree as pytree

from hedgerow.export import exporting  # noqa: F401  all operators are registered then
from hedgerow.export.errors import CannotExport
from hedgerow.export.operators.all import operators
from hedgerow.export.operators.registry import translates
from hedgerow.export.tracing.decompositions import table
from hedgerow.export.translate import translate
from hedgerow.export.writer import Writer, model_of
from tests.laws.export_cases import cases
from tests.onnx_runs import run

DRAWN = {"hedgerow.draw.default"}
"""Becomes an input; `test_export_training.py` has it."""


def operator(name: str) -> Any:
    space, packet, overload = name.split(".")
    return getattr(getattr(getattr(torch.ops, space), packet), overload)


def graph_of(name: str, args: Any, kwargs: Any) -> tuple[fx.Graph, dict[str, np.ndarray]]:
    """A graph with this operator only, whose tensors are its inputs."""
    graph, fakes, inputs = fx.Graph(), FakeTensorMode(), {}
    leaves, shape = pytree.tree_flatten((args, kwargs))
    given, made = [], []
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            node = graph.placeholder(f"i{len(inputs)}")
            node.meta.update(val=fakes.from_tensor(leaf), input=node.name)
            inputs[node.name] = leaf.numpy()
            given.append(node)
            made.append(node.meta["val"])
        else:
            given.append(leaf)
            made.append(leaf)
    inner, settings = pytree.tree_unflatten(given, shape)
    call = graph.call_function(operator(name), tuple(inner), settings)
    fake, options = pytree.tree_unflatten(made, shape)
    with fakes:
        call.meta["val"] = operator(name)(*fake, **options)
    count = len(call.meta["val"]) if isinstance(call.meta["val"], tuple | list) else 0
    parts = [graph.call_function(python.getitem, (call, k)) for k in range(count)] or [call]
    graph.output((parts,)).meta["outputs"] = [f"o{k}" for k in range(len(parts))]
    graph.output_node().args = (tuple(parts),)
    return graph, inputs


def written(name: str, args: Any, kwargs: Any) -> tuple[bytes, dict[str, np.ndarray]]:
    graph, inputs = graph_of(name, args, kwargs)
    to = Writer()
    values = translate(graph, to)
    return model_of(to.graph("one", list(values.items())), {}).SerializeToString(), inputs


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_translator_gives_what_torch_gives(dtype, seed):
    tried = set()
    for name, (args, kwargs) in cases(seed, dtype):
        tried.add(name)
        content, inputs = written(name, args, kwargs)
        expected = operator(name)(*args, **kwargs)
        found = run(content, inputs, reference=dtype == torch.float64)
        for value, tensor in zip(
            found.values(), expected if isinstance(expected, tuple | list) else [expected], strict=True
        ):
            told = f"{name} of {args} {kwargs}"
            assert value.dtype == tensor.numpy().dtype, told
            assert value.shape == tuple(tensor.shape), told
            most = 2e-6 if value.dtype == np.float32 else 1e-13
            np.testing.assert_allclose(value, tensor.numpy(), rtol=most, atol=most, err_msg=told)
    assert tried == set(operators()) - DRAWN
    assert len(tried) > 100


def test_no_translator_is_for_an_operator_that_is_decomposed_before():
    assert set(operators()).isdisjoint(map(str, table()))


def test_an_operator_has_one_translator():
    with pytest.raises(ValueError, match=r"aten\.mm\.default has a translator already"):
        translates("aten.mm.default")(print)


@pytest.mark.parametrize(
    ("name", "args", "told"),
    [
        ("aten.linalg_vector_norm.default", (torch.ones(3), 1), r"vector_norm.default with ord=1"),
        ("aten.index_put.default", (torch.ones(3, 2), [None, torch.tensor([0])], torch.ones(1)), "leave out"),
    ],
)
def test_what_a_translator_cannot_do_is_refused_by_name(name, args, told):
    with pytest.raises(CannotExport, match=told):
        written(name, args, {})
