"""Small models and samples for the torch trainer, and a fit of them."""

import numpy as np
import torch
from torch import nn

from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.models import build
from hedgerow.types import LocalTraining, Samples


def images(n: int, seed: int = 0, classes: int = 10, shape: tuple[int, ...] = (1, 16, 16)) -> Samples:
    rng = np.random.default_rng(seed)
    return Samples(rng.normal(size=(n, *shape)).astype(np.float32), rng.integers(classes, size=n))


def cnn_trainer(channels: int = 1, **options) -> TorchTrainer:
    return TorchTrainer(
        Task(build("cnn-small", input_shape=(channels, 16, 16), num_classes=10, hidden=20)), **options
    )


PLAIN = LocalTraining()


def fit(trainer, data, local=PLAIN, model=None, seed=1, round=1, client="a"):
    model = model or trainer.initial(5)
    return trainer.fit(model, data, local, seed=seed, round=round, client=client)


def dropout_net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 5), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 144, 10))


class Leaky(nn.Module):
    """Keeps whatever a module can keep: BatchNorm, counters, a hidden state, a flag, a cache."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(256)
        self.dropout = nn.Dropout(0.2)
        self.linear = nn.Linear(256, 10)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("scratch", torch.ones(10), persistent=False)
        self.hidden = None

    def forward(self, x):
        out = self.linear(self.dropout(self.norm(x.flatten(1)))) * self.scratch
        self.seen += 1
        self.scratch = self.scratch * 0.9
        if self.hidden is not None:
            out = out + self.hidden
        self.hidden = out.detach().mean(0)
        self.cache = out.detach().mean() + getattr(self, "cache", 0)
        self.linear.bias.requires_grad_(int(self.seen) < 2)
        return out + self.cache / (self.seen + 1)


def norm_net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))
