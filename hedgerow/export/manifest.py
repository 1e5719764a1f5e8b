"""What a graph takes, gives and is, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import onnx
from onnx import helper

from hedgerow.export.subject import Subject
from hedgerow.export.writer import OPSET
from hedgerow.recipe.versions import own
from hedgerow.types import LocalTraining
from hedgerow.types import Tensor as Slot

FORMAT = 1

_OF_A_STEP = (
    "optimizer",
    "batch_size",
    "momentum",
    "weight_decay",
    "proximal",
    "clip_gradient",
    "clip_samples",
)
"""Settings that a graph has in it; the others are the trainer's."""


def manifest_of(
    subject: Subject,
    kind: str,
    local: LocalTraining | None,
    graph: onnx.GraphProto,
    draws: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The manifest of a graph, which JSON can hold.

    Args:
        subject: the model.
        kind: `"train"` or `"evaluate"`.
        local: of a graph that trains.
        graph: as it is written.
        draws: inputs of zeros and ones, and what to draw them by.
    """
    layout = subject.layout
    settings = {} if local is None else {k: v for k, v in asdict(local).items() if k in _OF_A_STEP}
    return {
        "format": FORMAT,
        "hedgerow": own(),
        "opset": OPSET,
        "kind": kind,
        "loss": subject.loss_name,
        "local": settings,
        "inputs": [{**each, **draws.get(each["name"], {})} for each in _infos(graph.input)],
        "outputs": _infos(graph.output),
        "layout": {
            "parameters": _slots(layout.parameters),
            "buffers": _slots(layout.buffers),
            "constants": _slots(layout.constants),
        },
    }


def _infos(values: Sequence[onnx.ValueInfoProto]) -> list[dict[str, Any]]:
    return [
        {
            "name": value.name,
            "shape": [size.dim_value for size in value.type.tensor_type.shape.dim],
            "dtype": helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
        }
        for value in values
    ]


def _slots(slots: Sequence[Slot]) -> list[dict[str, Any]]:
    return [{"name": slot.name, "shape": list(slot.shape)} for slot in slots]
