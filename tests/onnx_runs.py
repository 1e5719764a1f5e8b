"""Runs graphs: in float32 by ONNX Runtime, in float64 by ONNX's reference, which has every operator in it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_scan import Scan as ForwardScan
from torch.nn import functional as F

CONVOLUTIONS = {1: (F.conv1d, F.conv_transpose1d), 2: (F.conv2d, F.conv_transpose2d)}


def run(content: bytes, inputs: Mapping[str, Any], *, reference: bool = False) -> dict[str, np.ndarray]:
    """A graph's outputs by name; inputs that it does not take are left out."""
    if reference:
        model = onnx.load_model_from_string(content)
        evaluator = ReferenceEvaluator(model, new_ops=OWN)
        given = {each.name: np.asarray(inputs[each.name]) for each in model.graph.input}
        with np.errstate(all="ignore"):
            return dict(zip(evaluator.output_names, evaluator.run(None, given), strict=True))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    given = {each.name: np.asarray(inputs[each.name]) for each in session.get_inputs()}
    return dict(zip([each.name for each in session.get_outputs()], session.run(None, given), strict=True))


def tensors(*arrays: Any) -> list[torch.Tensor]:
    return [torch.from_numpy(np.array(each)) for each in arrays]


# ONNX's own reference does most of these in loops of Python, and the error function in float32.


class Erf(OpRun):
    op_domain = ""

    def _run(self, x):
        return (torch.erf(*tensors(x)).numpy(),)


class Conv(OpRun):
    op_domain = ""

    def _run(
        self,
        x,
        w,
        b=None,
        *,
        auto_pad=None,
        dilations=None,
        group=None,
        kernel_shape=None,
        pads=None,
        strides=None,
    ):
        x, w = tensors(x, w)
        bias = None if b is None else torch.from_numpy(b)
        half = len(pads) // 2
        x = F.pad(x, [side for k in range(half - 1, -1, -1) for side in (pads[k], pads[half + k])])
        found = CONVOLUTIONS[half][0](x, w, bias, list(strides), 0, list(dilations), group)
        return (found.numpy(),)


class ConvTranspose(OpRun):
    op_domain = ""

    def _run(
        self, x, w, b=None, *, auto_pad=None, dilations=None, group=None, kernel_shape=None,
        output_padding=None, output_shape=None, pads=None, strides=None,
    ):  # fmt: skip
        x, w = tensors(x, w)
        bias = None if b is None else torch.from_numpy(b)
        half = len(pads) // 2
        assert list(pads[:half]) == list(pads[half:])
        more = list(pads[:half]), list(output_padding), group, list(dilations)
        return (CONVOLUTIONS[half][1](x, w, bias, list(strides), *more).numpy(),)


class MaxPool(OpRun):
    op_domain = ""

    def _run(
        self, x, *, auto_pad=None, ceil_mode=None, dilations=None, kernel_shape=None, pads=None,
        storage_order=None, strides=None,
    ):  # fmt: skip
        values, places = F.max_pool2d(
            torch.from_numpy(x), list(kernel_shape), list(strides), list(pads[:2]), list(dilations),
            bool(ceil_mode), return_indices=True,
        )  # fmt: skip
        planes = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], 1, 1) * (x.shape[2] * x.shape[3])
        return values.numpy(), places.numpy() + planes


class ScatterElements(OpRun):
    op_domain = ""

    def _run(self, x, places, values, *, axis=None, reduction=None):
        data, at, source = tensors(x, places, values)
        added = data.scatter_add(axis, at, source) if reduction == "add" else data.scatter(axis, at, source)
        return (added.numpy(),)


class ScatterND(OpRun):
    op_domain = ""

    def _run(self, x, places, values, *, reduction=None):
        found, at = x.copy(), tuple(np.moveaxis(places, -1, 0))
        if reduction == "add":
            np.add.at(found, at, values)
        else:
            found[at] = values
        return (found,)


class Scan(ForwardScan):
    """Backwards too, which ONNX's own refuses: all of these loops go one way."""

    op_domain = ""

    def __init__(self, node, run_params):
        kept = [a for a in node.attribute if not a.name.endswith("directions")]
        (self._backwards,) = {tuple(set(a.ints)) for a in node.attribute if a.name.endswith("directions")}
        forward = onnx.NodeProto()
        forward.CopyFrom(node)
        del forward.attribute[:]
        forward.attribute.extend(kept)
        super().__init__(forward, run_params)

    def _run(self, *args, **attributes):
        states = len(args) - self.num_scan_inputs
        turn = slice(None, None, -1 if self._backwards == (1,) else 1)
        found = super()._run(*args[:states], *(each[turn] for each in args[states:]), **attributes)
        return *found[:states], *(each[turn] for each in found[states:])


OWN = [Conv, ConvTranspose, Erf, MaxPool, Scan, ScatterElements, ScatterND]
