"""A picture from the update of a small CNN, by Levenberg-Marquardt: what stops attacks on it.

Zhu et al. 2019 (arXiv:1906.08935) match gradients by a second-order method,
L-BFGS. With 784 unknowns and all of a small model's convolutional gradients as
residuals, the Jacobian itself can be had, and each step solves a linear problem
exactly. What the hidden layer was given is known from its own gradient.

What is left to go wrong is which of four values each maximum was, and which
units were on: steps end where that pattern is wrong. `told` gives the attacker
the true one, which shows that the update holds the picture.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

from benchmarks.inversion.attack import split
from benchmarks.inversion.seen import Victim
from hedgerow.rng import generator
from hedgerow.types import Layout, Model, Samples, Vector


@dataclass(frozen=True)
class SecondOrder:
    """Attacks updates of one picture: of convolutions, ReLU, 2x2 max pooling and two linear layers.

    Attributes:
        victim: the model.
        starts: random pictures to start from.
        steps: of Levenberg-Marquardt, at most.
        smoothing: weight of the difference of neighbouring pixels.
        told: whether the attacker is given the true pattern.
    """

    victim: Victim
    starts: int = 2
    steps: int = 20
    smoothing: float = 0.003
    told: bool = False

    def reconstruct(
        self, model: Model, layout: Layout, update: Vector, own: Samples, seed: int
    ) -> list[NDArray[np.float32]]:
        """What it comes to from each start; of the client's samples it is given the label."""
        layers = _Layers(self.victim.module(model), torch.from_numpy(own.x) if self.told else None)
        target = dict(split(layout, -update))
        residuals = layers.residuals(target, torch.from_numpy(own.y), self.smoothing, own.x.shape)
        random = generator(seed, "second-order inversion")
        found = []
        for _ in range(self.starts):
            start = torch.from_numpy(random.uniform(0.3, 0.4, own.x.size).astype(np.float32))
            found.append(_descended(start, residuals, self.steps).reshape(own.x.shape).numpy())
        return found


class _Layers:
    """The model, layer by layer, with a pattern of maxima and units that are on: its own or a picture's."""

    def __init__(self, module: nn.Module, picture: Tensor | None) -> None:
        self._module = module
        self._parameters = {name: p.detach() for name, p in module.named_parameters()}
        self._true: dict[str, Tensor] = {}
        if picture is not None:
            self._true = self._pattern(picture)

    def residuals(
        self, target: dict[str, Tensor], label: Tensor, smoothing: float, shape: tuple[int, ...]
    ) -> Callable[[Tensor], Tensor]:
        """What is left of the target, `(pixels,) -> (residuals,)`, relative to each parameter's own."""
        weight, bias = target["hidden.weight"], target["hidden.bias"]
        features = (weight * bias[:, None]).sum(0) / bias.square().sum()
        seen = [name for name in target if name.startswith("conv")]

        def loss(parameters: dict[str, Tensor], picture: Tensor) -> Tensor:
            return nn.functional.cross_entropy(self._forward(parameters, picture), label)

        def left(pixels: Tensor) -> Tensor:
            picture = pixels.reshape(shape)
            gradient = grad(loss)(self._parameters, picture)
            down, right = picture.diff(dim=-2), picture.diff(dim=-1)
            inputs = self._forward(self._parameters, picture, until="hidden")[0]
            matched = [(gradient[name] - target[name]) / target[name].norm() for name in seen]
            parts = [(inputs - features) / features.norm(), *matched, smoothing * down, smoothing * right]
            return torch.cat([part.flatten() for part in parts])

        # A gradient is the update's, but for the learning rate: of a hidden layer's two, the quotient is not.
        scale = self._scale(features, target, label)
        for name in seen:
            target[name] = target[name] * scale
        return left

    def _scale(self, features: Tensor, target: dict[str, Tensor], label: Tensor) -> Tensor:
        tail = {n: p for n, p in self._parameters.items() if n.startswith(("hidden", "linear"))}

        def loss(parameters: dict[str, Tensor]) -> Tensor:
            return nn.functional.cross_entropy(
                self._forward(parameters, features[None], since="hidden"), label
            )

        return grad(loss)(tail)["hidden.weight"].norm() / target["hidden.weight"].norm()

    def _forward(
        self, parameters: dict[str, Tensor], x: Tensor, *, since: str = "", until: str = ""
    ) -> Tensor:
        begun = not since
        for name, layer in self._module.named_children():
            begun = begun or name == since
            if name == until:
                break
            if not begun:
                continue
            if isinstance(layer, nn.MaxPool2d):
                x = _fours(x).gather(-1, self._true.get(name, _argmax(x)))[..., 0]
            elif isinstance(layer, nn.ReLU):
                x = x * self._true.get(name, x.detach() > 0) if name != "relu3" else x.relu()
            else:
                own = {n.partition(".")[2]: p for n, p in parameters.items() if n.startswith(f"{name}.")}
                x = functional_call(layer, own, (x,))
        return x

    def _pattern(self, x: Tensor) -> dict[str, Tensor]:
        pattern = {}
        with torch.no_grad():
            for name, layer in self._module.named_children():
                if isinstance(layer, nn.MaxPool2d):
                    pattern[name] = _argmax(x)
                elif isinstance(layer, nn.ReLU):
                    pattern[name] = x > 0
                x = layer(x)
        return pattern


def _fours(x: Tensor) -> Tensor:
    """The four values of each 2x2 square, `(n, channels, rows / 2, columns / 2, 4)`."""
    return x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).transpose(3, 4).flatten(4)


def _argmax(x: Tensor) -> Tensor:
    return _fours(x.detach()).argmax(-1, keepdim=True)


def _descended(pixels: Tensor, residuals: Callable[[Tensor], Tensor], steps: int) -> Tensor:
    """Levenberg (1944) and Marquardt (1963): each step is taken only if it is one down."""
    unit, damping = torch.eye(len(pixels)), 0.1
    left = residuals(pixels)
    for _ in range(steps):
        at = pixels
        columns = vmap(lambda direction, at=at: jvp(residuals, (at,), (direction,))[1], chunk_size=98)(unit)
        squares, slope = columns @ columns.T, columns @ left
        for _ in range(8):
            damped = squares + damping * squares.diagonal().mean() * unit
            tried = (pixels - torch.linalg.solve(damped, slope)).clamp(0, 1)
            there = residuals(tried)
            if there.square().sum() < left.square().sum():
                pixels, left, damping = tried, there, max(damping / 4, 1e-7)
                break
            damping *= 4
        else:
            break
    return pixels.detach()
