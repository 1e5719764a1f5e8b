"""The model, the data and the training."""

from functools import cache

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from hedgerow.datasets.fashion_mnist import load_fashion_mnist

torch.set_num_threads(1)


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 5), nn.MaxPool2d(2), nn.ReLU(),
        nn.Conv2d(8, 16, 5), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(256, 212), nn.ReLU(), nn.Linear(212, 10),
    )  # fmt: skip


@cache
def dealt() -> tuple[torch.Tensor, torch.Tensor]:
    """The training pictures, shuffled once, the same everywhere."""
    train = load_fashion_mnist().train
    order = np.random.default_rng(0).permutation(len(train))
    return torch.from_numpy(train.x[order]), torch.from_numpy(train.y[order])


def batches(partition: int, samples: int, batch_size: int) -> DataLoader:
    x, y = dealt()
    first = partition * samples % (len(x) - samples + 1)
    own = slice(first, first + samples)
    return DataLoader(TensorDataset(x[own], y[own]), batch_size, shuffle=True)


def train(model: nn.Module, loader: DataLoader, learning_rate: float) -> float:
    optimizer = torch.optim.SGD(model.parameters(), learning_rate)
    losses = []
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses))
