"""What a graph may not be, whoever signed it: each is refused in a sentence, before ONNX Runtime sees it."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from hedgerow.graphs.agreement import check_run
from hedgerow.graphs.bundle import Graphs
from hedgerow.graphs.errors import BadGraphs
from hedgerow.graphs.inspection import LARGEST, inspect
from hedgerow.graphs.signature import signature_of
from hedgerow.strategies import fedavg, scaffold
from hedgerow.types import LocalTraining
from tests.graph_files import LOCAL, changed, small

MOST = 2**26


def node(op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
    """A change that adds a node in front."""

    def change(model: onnx.ModelProto) -> None:
        model.graph.node.insert(0, helper.make_node(op, inputs, outputs, **attributes))

    return change


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def function(model: onnx.ModelProto) -> None:
    opset = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("mine", "F", ["a"], ["b"], [], opset))


def branch(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.insert(0, helper.make_node("If", ["mask"], ["z"], then_branch=body, else_branch=body))


def huge(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(wide())
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["wide"], ["z"], value=one()))


def wide() -> TensorProto:
    sizes = np.array([2**20, 2**20]).tobytes()
    return helper.make_tensor("wide", TensorProto.INT64, [2], sizes, raw=True)


def one() -> TensorProto:
    return helper.make_tensor("value", TensorProto.FLOAT, [1], b"\0\0\0\0", raw=True)


def shaped_by_data(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Expand", ["x", "y"], ["z"]))


def open_shape(model: onnx.ModelProto) -> None:
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_param = "any"


def false_size(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims.append(7)


def sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add()


def texts(model: onnx.ModelProto) -> None:
    model.graph.input[1].type.tensor_type.elem_type = TensorProto.STRING


def other_domain(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def later(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 25


def twice(model: onnx.ModelProto) -> None:
    model.graph.node.append(model.graph.node[0])


def backwards(model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes[::-1])


def more_out(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2]))


CHANGES = [
    (node("Optional", ["x"], ["z"]), "the operator 'Optional', which is not on the list"),
    (node("RandomNormal", [], ["z"], shape=[2]), "the operator 'RandomNormal', which is not on the list"),
    (node("Add", ["x", "x"], ["z"], domain="mine"), "field 7 of ONNX's NodeProto, which no export writes"),
    (node("Conv", ["x", "x"], ["z"], auto_pad="VALID"), "has the attribute 'auto_pad', which no export"),
    (node("Softmax", ["x"], ["z"], axis=[1, 2], more=1.5), "attribute"),
    (node("Add", ["x"], ["z"]), "a node Add has 1 inputs"),
    (node("Identity", ["x"], ["z", "zz"]), "cannot give 2 results"),
    (node("Add", ["ghost", "x"], ["z"]), "takes 'ghost' before anything gives it"),
    (external, "field 13 of ONNX's TensorProto"),
    (function, "field 25 of ONNX's ModelProto"),
    (branch, "the operator 'If', which is not on the list"),
    (huge, "a run of it may take 4,194,321 MB; at most 64 MB are allowed"),
    (shaped_by_data, "takes a shape from what is no short list of constant whole numbers"),
    (open_shape, "field 2 of ONNX's Dimension"),
    (false_size, "has not as many numbers as its shape says"),
    (sparse, "field 15 of ONNX's GraphProto"),
    (texts, "a dtype that no export writes"),
    (other_domain, "other operators than those of ONNX's version 20"),
    (later, "other operators than those of ONNX's version 20"),
    (twice, "stands for two values"),
    (backwards, "before anything gives it"),
    (more_out, "its outputs are not those of the manifest"),
]


@pytest.mark.parametrize(("change", "told"), CHANGES)
def test_what_no_export_writes_is_refused_in_a_sentence(change, told):
    with pytest.raises(BadGraphs) as refused:
        inspect(changed(small(), change), MOST)
    said = str(refused.value)
    assert said.startswith("train.onnx: ")
    assert told in said
    assert len(said) < 200
    assert "\n" not in said


def test_what_an_export_writes_is_not_refused():
    assert 2**24 < inspect(small(), MOST) < 2**24 + 2**20
    assert inspect(changed(small()), MOST) == inspect(small(), MOST)


def test_a_graph_that_is_too_large_is_not_read():
    large = changed(small(), lambda model: setattr(model, "producer_name", "x" * LARGEST))
    with pytest.raises(BadGraphs, match="at most 4,194,304 are taken"):
        inspect(large, MOST)


MANIFESTS = [
    lambda told: told["inputs"][1]["shape"].__setitem__(0, 3),
    lambda told: told["inputs"].pop(),
    lambda told: told["outputs"].append({"name": "data", "shape": [2, 2], "dtype": "float32"}),
    lambda told: told["local"].__setitem__("momentum", 0.5),
    lambda told: told.__setitem__("loss", "mine"),
    lambda told: told.__setitem__("opset", 19),
]


@pytest.mark.parametrize("told", MANIFESTS)
def test_a_manifest_that_is_not_the_graphs_own_is_refused(told):
    with pytest.raises(BadGraphs, match="the manifest is not the one that the graph itself holds"):
        inspect(changed(small(), told=told, embedded=False), MOST)


@pytest.mark.parametrize("told", MANIFESTS)
def test_so_is_one_that_the_graph_holds_too_and_that_is_not_what_it_does_or_the_run_wants(told):
    with pytest.raises(BadGraphs):
        inspected(changed(small(), told=told))


def inspected(graphs: Graphs) -> None:
    inspect(graphs, MOST)
    check(graphs)


def check(graphs: Graphs, strategy: Any = None, kind: str = "classification", layout: str = "") -> None:
    known = signature_of(small().manifest["graphs"]["train.onnx"], "train").layout.fingerprint
    check_run(graphs, strategy or fedavg(local=LOCAL), kind, layout or known, 0)


@pytest.mark.parametrize(
    ("strategy", "more", "told"),
    [
        (fedavg(local=LocalTraining(batch_size=3)), {}, "batch_size is 2 in the graphs, and 3 in the run"),
        (fedavg(local=LocalTraining(batch_size=2, momentum=0.9)), {}, "momentum is 0.0 in the graphs"),
        (fedavg(local=LocalTraining(batch_size=2, optimizer="adam")), {}, "optimizer is 'sgd' in the graphs"),
        (scaffold(local=LOCAL), {}, "does not take 'correction', unlike the run's training"),
        (None, {"kind": "regression"}, "loss is 'cross_entropy' in the graphs"),
        (None, {"layout": "0" * 16}, "the model's layout is"),
    ],
)  # fmt: skip
def test_graphs_of_another_run_are_refused_by_what_differs(strategy, more, told):
    with pytest.raises(BadGraphs, match=told):
        check(small(), strategy, **more)


def test_graphs_of_the_run_are_not_refused():
    check(small())
    momentum = fedavg(local=LocalTraining(batch_size=2, learning_rate=0.3, epochs=4, momentum=0.9))
    check(small(0.9), momentum)
