"""The dense models in numpy, for a device that predicts without torch."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_LAYERS = {"logistic": ("linear",), "mlp-2nn": ("hidden1", "hidden2", "linear")}


def forward(name: str, tensors: Mapping[str, NDArray[Any]]) -> Callable[[Floats], Floats] | None:
    """The forward pass of a named model: `(n, ...) float32 -> (n, outputs) float32`; `None` for other names.

    Args:
        name: in `MODELS`.
        tensors: of the model, by name; its layers may be of low rank.

    >>> tensors = {"linear.weight": np.array([[1.0, 2.0]]), "linear.bias": np.array([0.5])}
    >>> forward("logistic", tensors)(np.array([[3.0, 4.0]])).tolist()
    [[11.5]]
    """
    layers, tensors = _LAYERS.get(name), _multiplied(tensors)
    if layers is None or set(tensors) != {f"{each}.{part}" for each in layers for part in ("weight", "bias")}:
        return None

    def outputs(x: Floats) -> Floats:
        values = x.reshape(len(x), -1)
        for place, each in enumerate(layers):
            values = np.maximum(values, 0) if place else values
            values = values @ tensors[f"{each}.weight"].T + tensors[f"{each}.bias"]
        return values

    return outputs


def _multiplied(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The tensors with the factors of low-rank layers multiplied, as `client.torch.factorised` names them."""
    plain = dict(tensors)
    for layer in [name.removesuffix(".down.weight") for name in tensors if name.endswith(".down.weight")]:
        first, second = plain.pop(f"{layer}.up.weight"), plain.pop(f"{layer}.down.weight")
        plain[f"{layer}.weight"], plain[f"{layer}.bias"] = first @ second, plain.pop(f"{layer}.up.bias")
    return plain
