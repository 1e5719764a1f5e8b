"""Steps of local training: by a graph, and by torch in float32 and in float64."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from hedgerow.client.task import Task
from hedgerow.client.torch.step import stepper
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.export.exporting import Exported, SampleForm, export_training
from hedgerow.promotion.tensors import named_tensors
from hedgerow.types import LocalTraining, Model, Samples
from tests.onnx_runs import run


def form_of(data: Samples) -> SampleForm:
    return SampleForm.of(data)


def exported(task: Task, local: LocalTraining, data: Samples, **options: Any) -> Exported:
    return export_training(task, local, form_of(data), **options)


def stepped(
    graph: Exported,
    model: Model,
    local: LocalTraining,
    data: Samples,
    *,
    steps: int = 1,
    correction: Any = None,
    drawn: Mapping[str, Any] | None = None,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Parameters, buffers and the last loss after steps on a batch that is filled up with zeros."""
    inputs = {each["name"]: each for each in graph.manifest["inputs"]}
    kind = np.dtype(inputs["parameters"]["dtype"])
    padded = [
        np.concatenate([v, np.zeros((local.batch_size - len(v), *v.shape[1:]), v.dtype)])
        for v in (data.x, data.y)
    ]
    feeds = {
        **{name: np.zeros(each["shape"], each["dtype"]) for name, each in inputs.items()},
        **(drawn or {}), "parameters": model.parameters, "buffers": model.buffers,
        "constants": model.constants, "start": model.parameters, "correction": correction,
        "x": padded[0], "y": padded[1],
        "mask": np.arange(local.batch_size) < len(data), "learning_rate": np.array(local.learning_rate),
    }  # fmt: skip
    for step in range(1, steps + 1):
        feeds["step"] = np.array(step)
        given = {
            name: np.asarray(feeds[name]).astype(
                kind if np.asarray(feeds[name]).dtype.kind == "f" else each["dtype"]
            )
            for name, each in inputs.items()
        }
        found = run(graph.content, given, reference=kind == np.float64)
        feeds.update({name.removeprefix("new/"): v for name, v in found.items() if name.startswith("new/")})
    return feeds["parameters"], feeds["buffers"], float(found["loss"])


def by_torch(
    task: Task, model: Model, local: LocalTraining, data: Samples, dtype: torch.dtype, *, steps: int = 1,
    correction: Any = None, order: Sequence[Any] = (),
) -> np.ndarray:  # fmt: skip
    """Parameters after steps, by autograd and the trainer's own step, in any dtype.

    Each step is on all samples, or on those at the positions in `order`.
    """
    layout = TorchTrainer(task).layout
    module = task.model()
    module.load_state_dict(
        {k: torch.from_numpy(v.copy()) for k, v in named_tensors(model, layout).items()}, strict=False
    )
    module.to(dtype).train()
    named = dict(module.named_parameters())
    parameters = [named[slot.name] for slot in layout.parameters]
    start = torch.from_numpy(model.parameters).to(dtype)
    extra = None if correction is None else torch.from_numpy(correction).to(dtype)
    step = stepper(local, local.learning_rate, parameters, start, extra)
    everything = [torch.from_numpy(v) for v in (data.x, data.y)]
    loss = task.loss or nn.functional.cross_entropy
    for at in order or [slice(None)] * steps:
        x, y = (t[at].to(dtype) if t.is_floating_point() else t[at] for t in everything)
        if local.clip_samples:
            each = [
                torch.autograd.grad(loss(module(x[k : k + 1]), y[k : k + 1]), parameters)
                for k in range(len(x))
            ]
            norms = [torch.cat([g.flatten() for g in one]).norm() for one in each]
            scales = [local.clip_samples / norm.clamp(min=local.clip_samples) / len(x) for norm in norms]
            gradients = [
                sum(s * g for s, g in zip(scales, one, strict=True)) for one in zip(*each, strict=True)
            ]
        else:
            gradients = list(torch.autograd.grad(loss(module(x), y), parameters))
        step(gradients)
    return torch.cat([p.detach().flatten() for p in parameters]).numpy()
