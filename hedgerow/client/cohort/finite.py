"""Whether what clients have learned is finite, if possible from less than all of its values."""

import math
from collections.abc import Iterable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hedgerow.types import Vector

_SURE = 1e30
"""A bound below this leaves no doubt: rounding is far from making it float32's largest number, 3.4e38."""


class Product(Protocol):
    """A layer whose change is a product of smaller matrices."""

    def largest(self, clients: int) -> Tensor:
        """For each of the first clients a number that no value of its change exceeds, `(clients,)`."""
        ...


def known(weights: Tensor, products: Iterable[Product]) -> list[bool]:
    """For each client, whether its change is sure to be finite; if not, its values decide.

    Args:
        weights: the weights that are stored, `(clients, n)`; they started from finite ones.
        products: the other layers.
    """
    bounds = [torch.linalg.vector_norm(weights, dim=1), *(each.largest(len(weights)) for each in products)]
    return (torch.stack(bounds).amax(0) < _SURE).tolist()  # NaN is not below it


def product_norm(a: Tensor, x: Tensor) -> Tensor:
    """For each client a bound on the values of `A^T X`: `|A| |X|`, by the inequality of Cauchy and Schwarz.

    Args:
        a: `A`, `(clients, k, outputs)`.
        x: the l2 norm of `X`, `(clients,)`.
    """
    bound: Tensor = torch.linalg.vector_norm(a, dim=(1, 2)) * x
    return bound


def is_finite(values: Vector) -> bool:
    """Whether all of `(n,)` values are finite."""
    # A vector's squared norm is finite if its values are, unless they are huge.
    vector = torch.from_numpy(values)
    return math.isfinite(torch.dot(vector, vector).item()) or bool(np.isfinite(values).all())
