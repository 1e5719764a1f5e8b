"""The graphs of a task: one that trains, and one that measures."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from hedgerow import checks
from hedgerow.client.task import Task
from hedgerow.export import loops  # noqa: F401  registers its operator
from hedgerow.export.errors import CannotExport
from hedgerow.export.manifest import manifest_of
from hedgerow.export.subject import CONSTANTS, OWN, Subject, subject_of
from hedgerow.export.tracing.step import next_step, state_names
from hedgerow.export.tracing.trace import Function, trace
from hedgerow.export.translate import translate
from hedgerow.export.trial import axes_of, check_alone, check_mean
from hedgerow.export.writer import Writer, model_of
from hedgerow.types import LocalTraining, Samples

_REFUSED = {
    "sample_noise": "its sums are exact and its noise is the device's own, which a graph cannot show; leave"
    " it out, or train with torch",
}


@final
@dataclass(frozen=True)
class SampleForm:
    """What a task's samples look like.

    Attributes:
        x_shape: of one sample.
        x_dtype: `"float32"` or `"int64"`.
        y_shape: of one target, `()` for a class.
        y_dtype: such as `"int64"`.
    """

    x_shape: tuple[int, ...]
    x_dtype: str = "float32"
    y_shape: tuple[int, ...] = ()
    y_dtype: str = "int64"

    @classmethod
    def of(cls, data: Samples) -> "SampleForm":
        """What these look like."""
        return cls(data.x.shape[1:], str(data.x.dtype), data.y.shape[1:], str(data.y.dtype))


@final
@dataclass(frozen=True)
class Exported:
    """A graph.

    Attributes:
        content: of the file, for ONNX Runtime.
        manifest: what it takes, gives and is; also in the file, without the file's own hash.
    """

    content: bytes
    manifest: Mapping[str, Any]


@checks.arguments
def export_training(
    task: Task, local: LocalTraining, samples: SampleForm, *, correction: bool = False, dtype: str = "float32"
) -> Exported:
    """One step of local training as one graph; the manifest names what goes in and comes out.

    In go the parameters `(d,)` in the order of the layout, buffers and constants where there are some,
    a batch of `batch_size` rows, a mask of those that are samples (the others may be anything finite
    that the model takes, such as zeros), the learning rate, what the optimizer keeps, and what the model
    draws. Out come the loss, the new parameters and buffers, and what the optimizer keeps.

    Args:
        task: what is learned.
        local: how; nothing of it is in the graph but what a step does.
        samples: what they look like.
        correction: whether a vector is added to each gradient (SCAFFOLD).
        dtype: `"float32"`, or `"float64"` to check the graph.

    Raises:
        CannotExport: the model, its loss or the settings cannot be written.
        ValueError: an argument is out of range.
    """
    checks.one_of(["float32", "float64"], dtype=dtype)
    for name, why in _REFUSED.items():
        if getattr(local, name):
            raise CannotExport(f"{name} is {getattr(local, name)}; {why}")
    if not local.batch_size:
        raise CannotExport("batch_size is 0, and a graph has batches of one size; give it a batch_size")
    subject = subject_of(task, dtype)
    if local.clip_samples and subject.mixing:
        raise CannotExport(
            f"clip_samples needs each sample's own gradient, and {subject.mixing[0]!r} mixes the samples of"
            " a batch; use GroupNorm or LayerNorm in its place"
        )
    inputs = _batch(subject, samples, local.batch_size)
    subject = replace(subject, axes=axes_of(subject, inputs))
    inputs["learning_rate"] = torch.zeros((), dtype=subject.dtype)
    flat = [*(["start"] if local.proximal else []), *(["correction"] if correction else [])]
    for name in (*flat, *state_names(local)):
        inputs[name] = torch.zeros(subject.layout.dimension, dtype=subject.dtype)
    if local.optimizer == "adam":
        inputs["step"] = torch.ones((), dtype=torch.int64)
    return _exported(subject, _training(subject, local), inputs, "train", local)


@checks.arguments
def export_evaluation(
    task: Task, samples: SampleForm, *, batch_size: int = 256, dtype: str = "float32"
) -> Exported:
    """A model's outputs, its loss and the task's metrics as one graph.

    Metrics come as their sums over the samples that the mask counts, the loss as the mean over them.

    Raises:
        CannotExport: the model, its loss or a metric cannot be written.
        ValueError: an argument is out of range.
    """
    checks.one_of(["float32", "float64"], dtype=dtype)
    checks.whole(1, batch_size=batch_size)
    subject = subject_of(task, dtype)
    subject.module.eval()

    def function(**given: Tensor) -> dict[str, Tensor]:
        x, y, mask = given["x"], given["y"], given["mask"]
        outputs, _ = subject.outputs(given, x, mask)
        found = {"outputs": outputs} if isinstance(outputs, Tensor) else {}
        found["loss"] = subject.mean_loss(outputs, y, mask)
        for name, metric in task.measures.items():
            found[f"sum/{name}"] = torch.where(mask, metric(outputs, y), 0).sum()
        return found

    return _exported(subject, function, _batch(subject, samples, batch_size), "evaluate", None)


def _training(subject: Subject, local: LocalTraining) -> Function:
    def function(**given: Tensor) -> dict[str, Tensor]:
        loss, gradient, kept = (_clipped if local.clip_samples else _plain)(subject, local, given)
        found = {"loss": loss}
        found |= next_step(
            local, gradient, given["parameters"], given["learning_rate"], given.get("start"),
            given.get("correction"), given,
        )  # fmt: skip
        for name, slots in (("buffers", subject.layout.buffers), (CONSTANTS, subject.layout.constants)):
            if slots:
                found[name] = torch.cat([kept[slot.name].reshape(-1) for slot in slots])
        return found | {name: buffer for name, buffer in kept.items() if name.startswith(OWN)}

    return function


def _plain(
    subject: Subject, local: LocalTraining, given: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """A batch's loss, its gradient, and the model's buffers."""

    # Not by `torch.func`, whose backward passes are written so that they can be differentiated again.
    with torch.enable_grad():
        parameters = given["parameters"].detach().requires_grad_()
        outputs, kept = subject.outputs({**given, "parameters": parameters}, given["x"], given["mask"])
        loss = subject.mean_loss(outputs, given["y"], given["mask"])
    if not loss.requires_grad:
        raise CannotExport("the loss does not depend on the model's parameters")
    (gradient,) = torch.autograd.grad(loss, parameters)
    return loss.detach(), gradient, {name: buffer.detach() for name, buffer in kept.items()}


def _clipped(
    subject: Subject, local: LocalTraining, given: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The mean of the samples' clipped gradients (arXiv:1607.00133, algorithm 1, without noise)."""
    mask = given["mask"]

    def loss(parameters: Tensor, x: Tensor, y: Tensor, place: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        values = {**given, "parameters": parameters}
        outputs, kept = subject.outputs(values, x.unsqueeze(0), mask[:1], place=place)
        return subject.loss_of(outputs, y.unsqueeze(0)), kept

    one = torch.func.grad_and_value(loss, has_aux=True)
    each = torch.vmap(one, in_dims=(None, 0, 0, 0))
    places = torch.arange(len(mask))
    gradients, (losses, kept) = each(given["parameters"], given["x"], given["y"], places)
    norms = torch.linalg.vector_norm(gradients, dim=1)
    scale = local.clip_samples / norms.clamp(min=local.clip_samples)
    weights = torch.where(mask, scale, 0) / mask.sum()
    value = torch.where(mask, losses, 0).sum() / mask.sum()
    return value, weights @ gradients, {name: buffer[0] for name, buffer in kept.items()}


def _batch(subject: Subject, samples: SampleForm, rows: int) -> dict[str, Tensor]:
    layout = subject.layout
    sizes = {"parameters": layout.dimension, "buffers": layout.buffer_size, "constants": layout.constant_size}
    found = {name: torch.zeros(size, dtype=subject.dtype) for name, size in sizes.items() if size}
    for name, shape, dtype in (
        ("x", samples.x_shape, samples.x_dtype),
        ("y", samples.y_shape, samples.y_dtype),
    ):
        kind = getattr(torch, dtype)
        found[name] = torch.zeros(rows, *shape, dtype=subject.dtype if kind.is_floating_point else kind)
    own = {f"{OWN}{name}": tensor for name, tensor in subject.own.items()}
    return {**found, "mask": torch.ones(rows, dtype=torch.bool), **own}


def _exported(
    subject: Subject, function: Function, inputs: Mapping[str, Tensor], kind: str, local: LocalTraining | None
) -> Exported:
    check_mean(subject, inputs)
    graph = trace(function, inputs, subject.module)
    check_alone(graph, inputs)
    to = Writer()
    own = {name: tensor.numpy() for name, tensor in inputs.items() if name.startswith(OWN)}
    values = {n: v for n, v in translate(graph, to, own).items() if n != CONSTANTS and not n.startswith(OWN)}
    # A new value must not have the name of the old one.
    outputs = [(f"new/{name}" if name in inputs else name, value) for name, value in values.items()]
    written = to.graph(kind, outputs)
    manifest = manifest_of(subject, kind, local, written, to.draws)
    content = model_of(written, {"hedgerow.manifest": json.dumps(manifest)}).SerializeToString(
        deterministic=True
    )
    return Exported(content, {**manifest, "sha256": hashlib.sha256(content).hexdigest()})
