"""Images from an update: gradient inversion against one local step, as strong as we know how to make it.

Geiping et al. 2020 (arXiv:2003.14053): images are sought whose gradient has the
direction of the update, with little total variation, by Adam on the signs of
the derivative. To this comes what a first linear layer gives away exactly (Zhu
and Blaschko 2021, arXiv:2010.07733): its update is a sum over the images of an
outer product, so that the input of that layer, with a 1 appended for the bias,
lies in a space of as many dimensions as there are images. The attacker is given
the labels and the number of images.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hedgerow.rng import generator
from hedgerow.types import Layout, Vector


@dataclass(frozen=True)
class Effort:
    """How hard the attacker tries.

    Attributes:
        feature_steps: of Adam with the linear layer's input alone, which is cheap.
        gradient_steps: then, with the gradient too.
        restarts: from other random images; the one whose gradient fits best is kept.
        learning_rate: at the start; it falls to a hundredth along a cosine.
        total_variation: weight of the mean difference of neighbouring pixels.
    """

    feature_steps: int = 200
    gradient_steps: int = 100
    restarts: int = 1
    learning_rate: float = 0.1
    total_variation: float = 0.05


def invert(
    model: nn.Module,
    layout: Layout,
    update: Vector,
    labels: NDArray[np.int64],
    shape: tuple[int, int, int],
    effort: Effort,
    seed: int,
) -> NDArray[np.float32]:
    """Images that would have made the update in one step of SGD, `(n, *shape) float32` from 0 to 1.

    Args:
        model: as the client got it.
        layout: of the update.
        update: `(d,)`: any positive multiple of the change of the model.
        labels: of the images, `(n,)`.
        shape: of an image.
        seed: of the random images that it starts from.
    """
    target = dict(_split(layout, -update))
    space = _input_space(model, target, len(labels))
    best, smallest = np.zeros((len(labels), *shape), np.float32), np.inf
    for restart in range(effort.restarts):
        random = generator(seed, "gradient inversion", round=restart)
        start = random.uniform(0, 0.5, (len(labels), *shape)).astype(np.float32)
        found, loss = _descend(
            model, target, space, torch.from_numpy(start), torch.from_numpy(labels), effort
        )
        if loss < smallest:
            best, smallest = found, loss
    return best


def psnr(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Peak signal-to-noise ratio of two images from 0 to 1, in dB."""
    return float(-10 * np.log10(max(1e-10, np.mean((a - b) ** 2, dtype=np.float64))))


def best_match(images: NDArray[np.float32], found: NDArray[np.float32]) -> list[float]:
    """For each true image, the PSNR of that reconstruction which comes closest to it."""
    return [max(psnr(image, other) for other in found) for image in images]


def best_constant(image: NDArray[np.float32]) -> float:
    """The PSNR of the one grey that comes closest to an image: what knowing its brightness alone gives."""
    return psnr(image, np.full_like(image, image.mean()))


def _descend(
    model: nn.Module,
    target: Mapping[str, Tensor],
    space: Tensor,
    start: Tensor,
    labels: Tensor,
    effort: Effort,
) -> tuple[NDArray[np.float32], float]:
    images = start.requires_grad_()
    steps = effort.feature_steps + effort.gradient_steps
    adam = torch.optim.Adam([images], lr=effort.learning_rate)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps, effort.learning_rate / 100)
    loss = torch.zeros(())
    for step in range(steps):
        adam.zero_grad()
        loss = _outside(_inputs(model, images), space)
        if step >= effort.feature_steps:
            loss = loss + _angle(model, images, labels, target)
        (loss + effort.total_variation * _variation(images)).backward()
        assert images.grad is not None
        images.grad.sign_()
        adam.step()
        slower.step()
        with torch.no_grad():
            images.clamp_(0, 1)
    return images.detach().numpy(), loss.item()


def _split(layout: Layout, values: Vector) -> Iterator[tuple[str, Tensor]]:
    ends = np.cumsum([0, *(int(np.prod(slot.shape)) for slot in layout.parameters)])
    for slot, (first, last) in zip(layout.parameters, pairwise(ends), strict=True):
        yield slot.name, torch.from_numpy(values[first:last].copy()).reshape(slot.shape)


def _first_linear(model: nn.Module) -> tuple[str, nn.Linear]:
    return next((name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear))


def _input_space(model: nn.Module, target: Mapping[str, Tensor], images: int) -> Tensor:
    """Orthonormal rows, `(images, inputs + 1)`, that span the first linear layer's inputs.

    The column of the bias is made as long as a typical input is.
    """
    name, _ = _first_linear(model)
    weight, bias = target[f"{name}.weight"], target[f"{name}.bias"]
    scale = weight.norm() / bias.norm()
    _, _, rows = torch.linalg.svd(torch.cat([weight, scale * bias[:, None]], 1), full_matrices=False)
    return torch.cat([rows[:images], scale * torch.ones(min(images, len(rows)), 1)], 1)


def _inputs(model: nn.Module, images: Tensor) -> Tensor:
    """What the first linear layer is given, `(n, inputs)`."""
    last, _ = _first_linear(model)
    for name, layer in model.named_children():
        if name == last:
            break
        images = layer(images)
    return images


def _outside(inputs: Tensor, space: Tensor) -> Tensor:
    """Which part of the inputs, with the bias's 1, lies outside of that space: 0 to 1, mean over the images."""
    rows, scale = space[:, :-1], space[0, -1]
    whole = torch.cat([inputs, scale.expand(len(inputs), 1)], 1)
    inside = (whole @ rows.T).square().sum(1)
    return (1 - inside / whole.square().sum(1)).mean()


def _angle(model: nn.Module, images: Tensor, labels: Tensor, target: Mapping[str, Tensor]) -> Tensor:
    """1 - cosine of the images' gradient and the update (arXiv:2003.14053, equation 4)."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    loss = nn.functional.cross_entropy(model(images), labels)
    gradient = torch.autograd.grad(loss, parameters, create_graph=True)
    pairs = [(g, target[name]) for g, name in zip(gradient, names, strict=True)]
    dot = torch.stack([(g * t).sum() for g, t in pairs]).sum()
    mine, theirs = (torch.stack([p[i].square().sum() for p in pairs]).sum().sqrt() for i in (0, 1))
    return 1 - dot / (mine * theirs)


def _variation(images: Tensor) -> Tensor:
    down, right = images[..., 1:, :] - images[..., :-1, :], images[..., :, 1:] - images[..., :, :-1]
    return down.abs().mean() + right.abs().mean()
