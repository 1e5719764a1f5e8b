"""Small graphs as `hedgerow export` writes them, and what a signer or a server could make of them."""

import hashlib
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import helper

import hedgerow as hr
from hedgerow.export.exporting import SampleForm, export_evaluation, export_training
from hedgerow.graphs.bundle import EVALUATE, TRAIN, Graphs
from hedgerow.graphs.inspection import EMBEDDED
from hedgerow.models import build
from hedgerow.secure.primitives import Secret

LOCAL = hr.LocalTraining(batch_size=2, learning_rate=0.1)
SECRET = Secret(bytes(range(32)))
OTHER_SECRET = Secret(bytes(range(1, 33)))


@cache
def small(momentum: float = 0.0) -> Graphs:
    """Of a logistic regression of two columns and two classes."""
    task = hr.Task(build("logistic", input_shape=(2,), num_classes=2))
    local = hr.LocalTraining(batch_size=2, learning_rate=0.1, momentum=momentum)
    form = SampleForm((2,))
    train, evaluate = export_training(task, local, form), export_evaluation(task, form, batch_size=2)
    return Graphs.of({"recipe": "small"}, train.manifest, train.content, evaluate.manifest, evaluate.content)


def changed(
    graphs: Graphs,
    change: Callable[[onnx.ModelProto], None] = lambda model: None,
    told: Callable[[dict[str, Any]], None] = lambda manifest: None,
    *,
    embedded: bool = True,
) -> Graphs:
    """The same with another graph that trains, and another manifest: also in the graph itself, if asked."""
    manifest = json.loads(json.dumps(graphs.manifest["graphs"][TRAIN]))
    manifest.pop("sha256")
    told(manifest)
    model = onnx.ModelProto.FromString(graphs.train)
    change(model)
    for entry in model.metadata_props:
        if entry.key == EMBEDDED and embedded:
            entry.value = json.dumps(manifest)
    content = model.SerializeToString(deterministic=True)
    evaluate = {k: v for k, v in graphs.manifest["graphs"][EVALUATE].items() if k != "sha256"}
    return Graphs.of({"recipe": "small"}, manifest, content, evaluate, graphs.evaluate)


def widened(model: onnx.ModelProto) -> None:
    """Give the graph a table of four megabytes, of which nothing comes out."""
    shape = helper.make_tensor("shape", 7, [2], np.array([1024, 1024]).tobytes(), raw=True)
    value = helper.make_tensor("value", 1, [1], bytes(4), raw=True)
    model.graph.initializer.append(shape)
    model.graph.node.append(helper.make_node("ConstantOfShape", ["shape"], ["table"], value=value))


def hash_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
