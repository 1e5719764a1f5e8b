"""Small models with every kind of layer that takes an adapter, and samples for them."""

import numpy as np
import pytest
import torch
from torch import nn

from hedgerow.types import LocalTraining, Samples

WIDTH, TIME = 8, 4


class Attends(nn.Module):
    """torch's transformer layer, which reads its weights itself, and attention alone."""

    def __init__(self, kdim: int | None = None) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 12, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.attention = nn.MultiheadAttention(WIDTH, 2, kdim=kdim, batch_first=True)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x):
        x = self.encoder(x)
        key = x[..., : self.attention.kdim]
        return self.head((x + self.attention(x, key, x)[0]).mean(1))


class Convolves(nn.Module):
    """Strides, groups, and a norm whose statistics follow the data."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.grouped = nn.Conv2d(6, 9, 3, groups=3)
        self.head = nn.Linear(9, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        return self.head(torch.relu(self.grouped(x)).mean((2, 3)))


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 11), nn.Tanh(), nn.Linear(11, 3))


SHAPES = {dense: (5,), Convolves: (1, 9, 9), Attends: (TIME, WIDTH)}
MODELS = [pytest.param(make, shape, id=make.__name__) for make, shape in SHAPES.items()]
LOCAL = LocalTraining(learning_rate=0.5, batch_size=4)


def samples(shape, n: int, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    return Samples(rng.normal(size=(n, *shape)).astype(np.float32), rng.integers(3, size=n))
