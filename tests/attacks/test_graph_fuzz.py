"""Mutated graphs crash nothing, and take no more memory than their bytes and what a graph takes anyway."""

import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from hedgerow.graphs.allowed import OPERATORS
from hedgerow.graphs.bundle import Graphs
from hedgerow.graphs.errors import BadGraphs
from hedgerow.graphs.inspection import graph_of, inspect
from hedgerow.graphs.offer import Offer, packed
from hedgerow.graphs.walk import Walk
from tests.attacks.mutations import mutated
from tests.graph_files import small
from tests.laws.export_cases import cases
from tests.laws.test_export_operators import written

MOST, NAMES = (
    2**28,
    ("conv", "max_pool", "scatter", "slice", "index", "pad", "split", "softmax", "var", "cat"),
)


NUMBERS = (0, 1, -1, 2, 7, 2**31, 2**62, 2**63 - 1, -(2**63))


def bent(content: bytes, rng: np.random.Generator) -> bytes:
    """A graph that can be parsed, with up to three other numbers, names, operators, types or nodes."""
    model = onnx.ModelProto.FromString(content)
    for _ in range(rng.integers(1, 4)):
        graph = model.graph
        nodes, tensors, infos = graph.node, graph.initializer, [*graph.input, *graph.output]
        attributes = [each for node in nodes for each in node.attribute]
        dims = [dim for info in infos for dim in info.type.tensor_type.shape.dim]
        number, names = (
            int(rng.choice(NUMBERS)),
            [name for node in nodes for name in (*node.input, *node.output)],
        )
        match int(rng.integers(0, 9)):
            case 0 if dims:
                one(dims, rng).dim_value = number
            case 1 if tensors:
                one(tensors, rng).dims.append(number)
            case 2 if tensors:
                tensor = one(tensors, rng)
                tensor.raw_data = np.full(len(tensor.raw_data) // 8, number, np.int64).tobytes()
            case 3 if attributes:
                attribute = one(attributes, rng)
                attribute.i, attribute.ints[:] = number, [number] * len(attribute.ints)
                attribute.ClearField("i" if attribute.type != onnx.AttributeProto.INT else "ints")
            case 4 if nodes:
                one(nodes, rng).op_type = str(rng.choice(list(OPERATORS)))
            case 5 if nodes:
                one(nodes, rng).input[:] = [str(rng.choice(names)) for _ in range(rng.integers(0, 4))]
            case 6 if nodes:
                nodes.append(one(nodes, rng))
            case 7 if infos:
                one(infos, rng).type.tensor_type.elem_type = int(rng.integers(0, 20))
            case 8 if nodes:
                del nodes[int(rng.integers(0, len(nodes)))]
    return model.SerializeToString()


def one(things: Sequence[Any], rng: np.random.Generator) -> Any:
    return things[int(rng.integers(0, len(things)))]


def read(content: bytes) -> None:
    Walk(graph_of(content)[0], MOST)


def survived(content: bytes) -> bool:
    """Whether it is taken; raises whatever is no refusal."""
    try:
        read(content)
    except BadGraphs:
        return False
    return True


def graphs() -> Iterator[bytes]:
    """Graphs of single operators, small enough for many mutations, and a whole step."""
    for name, (args, kwargs) in cases(0, torch.float32):
        if any(each in name for each in NAMES):
            yield written(name, args, kwargs)[0]
    yield small().train


def taken_of(mutations: int, seed: int) -> int:
    """How many of so many mutated graphs are taken; raises what is no refusal."""
    rng, known = np.random.default_rng(seed), list(graphs())
    others, taken = b"".join(known), 0
    for number in range(mutations // 2):
        content = known[number % (len(known) - 1)]
        for other in (mutated(content, rng, others), bent(content, rng)):
            taken += survived(other)
        if not number % 100:
            survived(bent(known[-1], rng))
    return taken


def test_ten_thousand_mutated_graphs_are_refused_or_read():
    assert 100 < taken_of(10_000, 7) < 2000, "some mutations change what does not matter; most are found"


@pytest.mark.long
def test_a_million_mutated_graphs_are_refused_or_read():
    assert 10_000 < taken_of(1_000_000, 8) < 200_000


def peak(content: bytes) -> int:
    """The most memory that Python has taken while it was read."""
    tracemalloc.start()
    try:
        survived(content)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_no_number_in_a_graph_decides_how_much_memory_is_taken():
    rng, known = np.random.default_rng(8), [*graphs()][::4]
    others = b"".join(known)
    for content in known:
        survived(content)
        usual = peak(content)
        for number in range(20):
            changed = bent(content, rng) if number % 2 else mutated(content, rng, others)
            assert peak(changed) <= 2 * len(changed) + usual + 4096


@pytest.mark.parametrize("changes", [300])
def test_mutated_graphs_as_they_travel_are_refused_for_their_hash(changes):
    rng, data = np.random.default_rng(9), packed(small())
    offer = Offer.of(small())
    assert offer.opened(data) == small()
    for _ in range(changes):
        if (other := mutated(data, rng, data)) != data:
            with pytest.raises(BadGraphs):
                offer.opened(other)


def test_a_whole_bundle_is_inspected_and_not_one_graph_alone():
    own = small()
    cut = Graphs.of({}, own.manifest["graphs"]["train.onnx"], own.train, {}, own.evaluate[:-1])
    with pytest.raises(BadGraphs, match=r"^evaluate\.onnx: "):
        inspect(cut, MOST)
