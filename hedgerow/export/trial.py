"""Whether a graph has all in it that a step needs, tried on made-up samples."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, fx

from hedgerow.client.draws import Axis
from hedgerow.client.torch.dropout import Source
from hedgerow.client.torch.dropping import sample_axes
from hedgerow.client.torch.settings import num_threads, seeded
from hedgerow.export.errors import CannotExport
from hedgerow.export.subject import CONSTANTS, OWN, Subject
from hedgerow.export.tracing.masked import of_each
from hedgerow.graphs.signature import CROSS_ENTROPY
from hedgerow.rng import generator

_TOLERANCE = 1e-4
"""Relative; the rows of a batch are added in another order in each of the two."""


def axes_of(subject: Subject, inputs: Mapping[str, Tensor]) -> Sequence[Axis]:
    """Where the draws of a step have the samples, as far as it shows on made-up ones."""
    values = {name: _made_up(name, like) for name, like in inputs.items()}
    few = values["x"].new_empty(3, *values["x"].shape[1:])
    x, mask = _made_up("x", few), torch.ones(3, dtype=torch.bool)

    def run(samples: int, source: Source) -> None:
        subject.outputs(values, x[:samples], mask[:samples], source=source)

    with num_threads(1), seeded(0, torch.device("cpu")), torch.no_grad():
        try:
            return sample_axes(run)
        except Exception:  # of the user's model, which tracing will report
            return ()


def check_mean(subject: Subject, inputs: Mapping[str, Tensor]) -> None:
    """Refuse a loss that is no mean over the samples.

    Raises:
        CannotExport: it is none, on made-up outputs.
    """
    if subject.loss_name == CROSS_ENTROPY:
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


def check_alone(graph: fx.Graph, inputs: Mapping[str, Tensor]) -> None:
    """Refuse a graph in which more has a part than the samples and the model that is sent.

    Raises:
        CannotExport: what comes out changes with rows that are no samples, or with buffers that are
            never sent and that a step changes; or a step changes constants.
    """
    values = {name: _made_up(name, like) for name, like in inputs.items()}
    rows = len(values["mask"])
    values["mask"] = torch.arange(rows) < max(1, rows // 2)
    first = _run(graph, values)
    if CONSTANTS in first and not torch.equal(first[CONSTANTS], values[CONSTANTS]):
        raise CannotExport(
            "training changes a tensor that is constant to Hedgerow; see `Task(statistics=...)`"
        )
    other = values["x"].flip(0) if values["x"].is_floating_point() else 1 - values["x"]
    kept = values["mask"].view(-1, *[1] * (other.dim() - 1))
    if not _alike(first, _run(graph, {**values, "x": torch.where(kept, values["x"], other)})):
        raise CannotExport(
            "the model or its loss mixes the samples of a batch (on made-up ones, what comes out changes"
            " with the rows that a short last batch is filled up with); use layers that treat each sample"
            " alone, or BatchNorm, which a graph has with its mask"
        )
    moved = {name: value for name, value in first.items() if name.startswith(OWN)}
    if moved and not _alike(first, _run(graph, {**values, **moved})):
        names = ", ".join(repr(name.removeprefix(OWN)) for name in moved)
        raise CannotExport(
            f"the model counts batches, or keeps other state that is never sent ({names}), and what it gives"
            " changes with that; a graph keeps none"
        )


def _run(graph: fx.Graph, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What torch makes of a graph; draws are the same each time."""
    run = fx.GraphModule(graph.owning_module or {}, graph)
    with num_threads(1), seeded(0, torch.device("cpu")), torch.no_grad():
        return dict(zip(graph.output_node().meta["outputs"], run(*values.values()), strict=True))


def _alike(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Whether all is the same but for rounding; outputs have a row for each sample, own buffers may move."""
    for name, value in first.items():
        if name == "outputs" or name.startswith(OWN):
            continue
        least = _TOLERANCE * float(value.abs().max().nan_to_num()) if value.numel() else 0.0
        if not torch.allclose(value, second[name], rtol=0, atol=least, equal_nan=True):
            return False
    return True


def _made_up(name: str, like: Tensor) -> Tensor:
    """Values of this form: small normal numbers, and zeros and ones where numbers are whole."""
    if name.startswith(OWN):
        return like
    random = generator(0, f"made-up {name}")
    if name == "step":
        return torch.ones_like(like)
    if not like.is_floating_point():
        return torch.from_numpy(random.integers(0, 2, tuple(like.shape))).to(like.dtype)
    made = torch.from_numpy(random.normal(0, 1.0 if name == "x" else 0.1, tuple(like.shape))).to(like.dtype)
    return made.abs() if name in ("buffers", CONSTANTS, "second_moment") else made
