"""Pictures from an update: gradient inversion against one local step, as strong as we know how to make it.

Geiping et al. 2020 (arXiv:2003.14053) look for pictures whose gradient has the
direction of the update, with little total variation, by Adam on the signs of
the derivative. Before that comes what a first linear layer gives away (Zhu and
Blaschko 2021, arXiv:2010.07733, for one picture): its update is a sum over the
pictures of outer products, so that each one's input of that layer, with a 1
appended for the bias, lies in a space of as many dimensions as there are
pictures. Pictures are sought whose input lies in it.
"""

from collections.abc import Callable, Iterator, Mapping
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
        starts: random pictures to start from.
        feature_steps: of Adam with the linear layer's input alone, which is cheap.
        gradient_steps: then, with the direction of the gradient too; only where
            one picture is sought, from what came closest.
        learning_rate: at the start; it falls to a hundredth along a cosine, and
            begins with a tenth where the gradient comes in.
        total_variation: weight of the mean difference of neighbouring pixels.
    """

    starts: int = 4
    feature_steps: int = 400
    gradient_steps: int = 60
    learning_rate: float = 0.1
    total_variation: float = 0.01


def invert(
    model: nn.Module,
    layout: Layout,
    update: Vector,
    labels: NDArray[np.int64],
    shape: tuple[int, int, int],
    effort: Effort,
    seed: int,
) -> NDArray[np.float32]:
    """Pictures that would have made the update in one step of SGD, `(found, *shape) float32` from 0 to 1.

    One where one is sought; else one for each start, and several may be alike.

    Args:
        model: as the client got it.
        layout: of the update.
        update: `(d,)`: any positive multiple of the change of the model.
        labels: of the pictures, `(n,)`: the attacker is given them, and `n`.
        shape: of a picture.
        seed: of the random pictures that it starts from.
    """
    target = dict(split(layout, -update))
    space = _input_space(model, target, len(labels))
    random = generator(seed, "gradient inversion")
    pictures = torch.from_numpy(random.uniform(0, 0.5, (effort.starts, *shape)).astype(np.float32))

    def features(x: Tensor) -> Tensor:
        return _outside(_inputs(model, x), space)

    _descend(pictures, features, effort, effort.feature_steps, effort.learning_rate)
    if len(labels) > 1:
        return pictures.numpy()
    with torch.no_grad():
        closest = pictures[features(pictures).argmin()][None].clone()

    def both(x: Tensor) -> Tensor:
        return features(x) + _angle(model, x, torch.from_numpy(labels), target)

    _descend(closest, both, effort, effort.gradient_steps, effort.learning_rate / 10)
    return closest.numpy()


def psnr(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Peak signal-to-noise ratio of two pictures from 0 to 1, in dB."""
    return float(-10 * np.log10(max(1e-10, np.mean((a - b) ** 2, dtype=np.float64))))


def best_match(pictures: NDArray[np.float32], found: NDArray[np.float32]) -> list[float]:
    """For each true picture, the PSNR of that reconstruction which comes closest to it."""
    return [max(psnr(picture, other) for other in found) for picture in pictures]


def best_constant(picture: NDArray[np.float32]) -> float:
    """The PSNR of the one grey that comes closest to a picture: what knowing its brightness alone gives."""
    return psnr(picture, np.full_like(picture, picture.mean()))


def _descend(
    pictures: Tensor, loss: Callable[[Tensor], Tensor], effort: Effort, steps: int, learning_rate: float
) -> None:
    """Move the pictures, in place. As only signs count, each goes its way as if it were alone."""
    moved = pictures.clone().requires_grad_()
    adam = torch.optim.Adam([moved], lr=learning_rate)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(1, steps), learning_rate / 100)
    for _ in range(steps):
        adam.zero_grad()
        (loss(moved).sum() + effort.total_variation * _variation(moved)).backward()
        assert moved.grad is not None
        moved.grad.sign_()
        adam.step()
        slower.step()
        with torch.no_grad():
            moved.clamp_(0, 1)
    pictures.copy_(moved.detach())


def split(layout: Layout, values: Vector) -> Iterator[tuple[str, Tensor]]:
    """Names and values of the parameters."""
    ends = np.cumsum([0, *(int(np.prod(slot.shape)) for slot in layout.parameters)])
    for slot, (first, last) in zip(layout.parameters, pairwise(ends), strict=True):
        yield slot.name, torch.from_numpy(values[first:last].copy()).reshape(slot.shape)


def _first_linear(model: nn.Module) -> tuple[str, nn.Linear]:
    return next((name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear))


def _input_space(model: nn.Module, target: Mapping[str, Tensor], pictures: int) -> Tensor:
    """Orthonormal rows, `(pictures, inputs + 1)`, that span the first linear layer's inputs.

    The 1 for the bias is made as long as a typical input; it stands in a column
    of its own at the end of the rows.
    """
    name, _ = _first_linear(model)
    weight, bias = target[f"{name}.weight"], target[f"{name}.bias"]
    scale = weight.norm() / bias.norm()
    joined = torch.cat([weight, scale * bias[:, None]], 1).double()
    values, vectors = torch.linalg.eigh(joined @ joined.T)
    kept = vectors[:, -pictures:] / values[-pictures:].clamp_min(1e-30).sqrt()
    rows = (kept.T @ joined).float()
    return torch.cat([rows, scale.expand(len(rows), 1)], 1)


def _inputs(model: nn.Module, pictures: Tensor) -> Tensor:
    """What the first linear layer is given, `(n, inputs)`."""
    last, _ = _first_linear(model)
    for name, layer in model.named_children():
        if name == last:
            break
        pictures = layer(pictures)
    return pictures


def _outside(inputs: Tensor, space: Tensor) -> Tensor:
    """Which part of each input, with the 1, lies outside of that space: 0 to 1, `(n,)`."""
    rows, scale = space[:, :-1], space[0, -1]
    whole = torch.cat([inputs, scale.expand(len(inputs), 1)], 1)
    return 1 - (whole @ rows.T).square().sum(1) / whole.square().sum(1)


def _angle(model: nn.Module, pictures: Tensor, labels: Tensor, target: Mapping[str, Tensor]) -> Tensor:
    """1 - cosine of the pictures' gradient and the update (arXiv:2003.14053, equation 4)."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    loss = nn.functional.cross_entropy(model(pictures), labels)
    gradient = torch.autograd.grad(loss, parameters, create_graph=True)
    pairs = [(g, target[name]) for g, name in zip(gradient, names, strict=True)]
    dot = torch.stack([(g * t).sum() for g, t in pairs]).sum()
    mine, theirs = (torch.stack([p[i].square().sum() for p in pairs]).sum().sqrt() for i in (0, 1))
    return 1 - dot / (mine * theirs)


def _variation(pictures: Tensor) -> Tensor:
    down, right = pictures[..., 1:, :] - pictures[..., :-1, :], pictures[..., :, 1:] - pictures[..., :, :-1]
    return down.abs().mean() + right.abs().mean()
