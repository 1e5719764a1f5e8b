"""A loop over time in a graph is walked once, within its bounds, and what it gives is known beforehand."""

from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from hedgerow.graphs.errors import BadGraphs
from hedgerow.graphs.values import Value
from hedgerow.graphs.walk import Walk

FLOAT = TensorProto.FLOAT


def info(name: str, *shape: int) -> Any:
    return helper.make_tensor_value_info(name, FLOAT, shape)


def body(inputs: list[Any], nodes: list[Any], outputs: list[Any]) -> Any:
    return helper.make_graph(nodes, "step", inputs, outputs)


def cell(carried: tuple[int, ...] = (2, 4), more: list[Any] | None = None) -> Any:
    """A step of a recurrent layer, with the weights of the graph around it."""
    nodes = [
        helper.make_node("MatMul", ["b/x", "w"], ["b/wx"]),
        helper.make_node("MatMul", ["b/h", "u"], ["b/uh"]),
        helper.make_node("Add", ["b/wx", "b/uh"], ["b/sum"]),
        helper.make_node("Tanh", ["b/sum"], ["b/new"]),
        helper.make_node("Identity", ["b/new"], ["b/y"]),
        *(more or []),
    ]
    return body([info("b/h", 2, 4), info("b/x", 2, 3)], nodes, [info("b/new", *carried), info("b/y", 2, 4)])


def walked(step: Any, *, steps: int = 5, allowed: int = 2**26, **attributes: Any) -> Walk:
    scan = helper.make_node("Scan", ["h", "x"], ["last", "all"], body=step, num_scan_inputs=1, **attributes)
    inputs = [info("h", 2, 4), info("x", steps, 2, 3), info("w", 3, 4), info("u", 4, 4)]
    outputs = [info("last", 2, 4), info("all", steps, 2, 4)]
    graph = helper.make_graph([scan], "one", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return Walk(memoryview(graph.SerializeToString()), allowed)


def test_what_a_loop_gives_has_its_length_and_its_body_sees_what_is_around_it():
    short, long = walked(cell(), scan_input_directions=[1]), walked(cell(), steps=50)
    assert short.outputs["all"] == Value((5, 2, 4), "float32")
    assert long.outputs["last"] == Value((2, 4), "float32")
    assert long.needed - short.needed > 45 * 2 * 4 * 4, "what it keeps of each step is counted"


def loop_within(depth: int) -> Any:
    """A body with loops in it, so deep."""
    if not depth:
        return cell()
    inner = helper.make_node(
        "Scan",
        [f"d{depth}/h", "x"],
        [f"d{depth}/last", f"d{depth}/all"],
        body=loop_within(depth - 1),
        num_scan_inputs=1,
    )
    inputs = [info(f"d{depth}/h", 2, 4), info(f"d{depth}/x", 2, 3)]
    give = [helper.make_node("Identity", [f"d{depth}/last"], [f"d{depth}/y"])]
    return body(inputs, [inner, *give], [info(f"d{depth}/last", 2, 4), info(f"d{depth}/y", 2, 4)])


def test_loops_within_loops_are_walked_to_a_bound():
    assert walked(loop_within(1)).needed > walked(cell()).needed
    with pytest.raises(BadGraphs, match="graphs within graphs, more than 3 deep"):
        walked(loop_within(3))


def huge() -> Any:
    wide = helper.make_tensor("b/wide", TensorProto.INT64, [2], (2**20).to_bytes(8, "little") * 2, raw=True)
    value = helper.make_tensor("value", FLOAT, [1], bytes(4), raw=True)
    found = cell(more=[helper.make_node("ConstantOfShape", ["b/wide"], ["b/big"], value=value)])
    found.initializer.append(wide)
    return found


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (cell(more=[helper.make_node("RandomNormalLike", ["b/new"], ["b/n"])]), "'RandomNormalLike', which"),
        (cell(more=[helper.make_node("Identity", ["b/new"], ["w"])]), "the name 'w' stands for two values"),
        (huge(), "a run of it may take 4,194,321 MB"),
    ],
)  # fmt: skip
def test_a_body_is_held_to_what_the_graph_around_it_is(step, told):
    graph = helper.make_graph(
        [helper.make_node("Scan", ["h", "x"], ["last", "all"], body=step, num_scan_inputs=1)],
        "one", [info("h", 2, 4), info("x", 5, 2, 3), info("w", 3, 4), info("u", 4, 4)], [],
    )  # fmt: skip
    with pytest.raises(BadGraphs, match=told):
        Walk(memoryview(graph.SerializeToString()), 2**26)


@pytest.mark.parametrize(
    ("inputs", "attributes", "told"),
    [
        ([info("h", 2, 4), info("x", 5, 2, 7)], {}, "takes something else than the loop gives it"),
        ([info("h", 9, 4), info("x", 5, 2, 3)], {}, "takes something else than the loop gives it"),
        ([info("h", 2, 4), info("x", 5, 2, 3)], {"num_scan_inputs": 3}, "has nothing to go through"),
        ([info("h", 2, 4), info("x")], {}, "has nothing to go through"),
        ([info("h", 2, 4), info("x", 5, 2, 3)], {"scan_input_axes": [1]}, "the attribute 'scan_input_axes'"),
    ],
)  # fmt: skip
def test_a_loop_that_does_not_fit_its_body_is_refused(inputs, attributes, told):
    given = {"num_scan_inputs": 1, **attributes}
    node = helper.make_node("Scan", ["h", "x"], ["last", "all"], body=cell(), **given)
    graph = helper.make_graph([node], "one", [*inputs, info("w", 3, 4), info("u", 4, 4)], [])
    with pytest.raises(BadGraphs, match=told):
        Walk(memoryview(graph.SerializeToString()), 2**26)


def test_what_is_carried_keeps_its_form():
    grown = cell((2, 8), [helper.make_node("Concat", ["b/new", "b/new"], ["b/wider"], axis=1)])
    grown.output[0].name = "b/wider"
    graph = helper.make_graph(
        [helper.make_node("Scan", ["h", "x"], ["last", "all"], body=grown, num_scan_inputs=1)],
        "one", [info("h", 2, 4), info("x", 5, 2, 3), info("w", 3, 4), info("u", 4, 4)], [],
    )  # fmt: skip
    with pytest.raises(BadGraphs, match="changes the form of what it carries"):
        Walk(memoryview(graph.SerializeToString()), 2**26)
