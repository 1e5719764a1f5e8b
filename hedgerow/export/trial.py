"""Whether a short last batch can be told by a mask, tried on made-up samples."""

from collections.abc import Mapping

import torch
from torch import Tensor, fx

from hedgerow.client.torch.settings import num_threads, seeded
from hedgerow.export.errors import CannotExport
from hedgerow.export.subject import Subject
from hedgerow.export.tracing.masked import of_each
from hedgerow.rng import generator

_TOLERANCE = 1e-4
"""Relative; the rows of a batch are added in another order in each of the two."""


def check_mean(subject: Subject, inputs: Mapping[str, Tensor]) -> None:
    """Refuse a loss that is no mean over the samples.

    Raises:
        CannotExport: it is none, on made-up outputs.
    """
    if subject.loss_name == "cross_entropy":
        return
    values = {name: _made_up(name, like) for name, like in inputs.items()}
    with num_threads(1), torch.no_grad():
        outputs, _ = subject.outputs(values, values["x"], torch.ones_like(values["mask"]))
        if not isinstance(outputs, Tensor):
            return
        y = values["y"]
        whole, each = subject.loss_of(outputs, y), of_each(subject.task.loss, outputs, y)
    if not torch.allclose(whole, each.mean(), rtol=_TOLERANCE, equal_nan=True):
        raise CannotExport(
            f"the loss {subject.loss_name} of {len(y)} samples is {whole.item():.4g}, and the mean of their"
            f" own is {each.mean().item():.4g}; a graph needs a loss that is the mean over its samples"
        )


def check_filling(graph: fx.Graph, inputs: Mapping[str, Tensor]) -> None:
    """Refuse a graph in which rows that are no samples have a part.

    Raises:
        CannotExport: what comes out changes with them.
    """
    values = {name: _made_up(name, like) for name, like in inputs.items()}
    rows = len(values["mask"])
    samples = torch.arange(rows) < max(1, rows // 2)
    other = values["x"].flip(0) if values["x"].is_floating_point() else 1 - values["x"]
    kept = samples.view(-1, *[1] * (other.dim() - 1))
    filled = torch.where(kept, values["x"], other)
    owner = graph.owning_module
    assert owner is not None
    run = fx.GraphModule(owner, graph)
    found = []
    for x in (values["x"], filled):
        given = {**values, "mask": samples, "x": x}
        with num_threads(1), seeded(0, torch.device("cpu")), torch.no_grad():
            found.append(dict(zip(graph.output_node().meta["outputs"], run(*given.values()), strict=True)))
    for name, value in found[0].items():
        if name == "outputs":  # a row for each sample
            continue
        least = _TOLERANCE * (1 if not value.numel() else float(value.abs().max()))
        if not torch.allclose(value, found[1][name], rtol=0, atol=least, equal_nan=True):
            raise CannotExport(
                "the model or its loss mixes the samples of a batch (on made-up ones, what comes out changes"
                " with the rows that a short last batch is filled up with); use layers that treat each sample"
                " alone, or BatchNorm, which a graph has with its mask"
            )


def _made_up(name: str, like: Tensor) -> Tensor:
    """Values of this form: small normal numbers, and zeros and ones where numbers are whole."""
    if name.startswith("own/"):
        return like
    random = generator(0, f"made-up {name}")
    if name == "step":
        return torch.ones_like(like)
    if not like.is_floating_point():
        return torch.from_numpy(random.integers(0, 2, tuple(like.shape))).to(like.dtype)
    made = torch.from_numpy(random.normal(0, 1.0 if name == "x" else 0.1, tuple(like.shape))).to(like.dtype)
    return made.abs() if name in ("buffers", "second_moment") else made
