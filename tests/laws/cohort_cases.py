"""Models and clients that are trained side by side."""

import dataclasses
from functools import cache

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from hedgerow.client.cohort import CohortTrainer
from hedgerow.client.task import Task
from hedgerow.models import build
from hedgerow.types import Fit, LocalTraining, Model, Samples

CLASSES = 5


@dataclasses.dataclass(frozen=True)
class Case:
    """A model, and the shape of a sample; `words` are the values of integer samples."""

    factory: object
    shape: tuple[int, ...]
    words: int = 0

    def clients(self, sizes, seed=0):
        rng = np.random.default_rng([seed, *sizes])
        return [
            (
                f"client {k}",
                Samples(
                    rng.integers(self.words, size=(n, *self.shape))
                    if self.words
                    else rng.normal(size=(n, *self.shape)).astype(np.float32),
                    rng.integers(CLASSES, size=n),
                ),
            )
            for k, n in enumerate(sizes)
        ]


def shipped(name, shape, words=0, **options) -> Case:
    return Case(build(name, input_shape=shape, num_classes=CLASSES, **options), shape, words)


SHIPPED = {
    "logistic": shipped("logistic", (2, 3)),
    "mlp-2nn": shipped("mlp-2nn", (7,), hidden=9),
    "cnn-fedavg": shipped("cnn-fedavg", (1, 4, 4)),
    "cnn-small": shipped("cnn-small", (3, 16, 16), hidden=13),
    "cnn-1d": shipped("cnn-1d", (3, 9), width=5),
    "resnet-gn-tiny": shipped("resnet-gn-tiny", (2, 5, 6), width=4, groups=2),
    "gru-char": shipped("gru-char", (6,), words=CLASSES, embedding=3, hidden=7),
    "lstm-char": shipped("lstm-char", (6,), words=CLASSES, embedding=3, hidden=7),
}

OPTIMIZERS = {
    "sgd": LocalTraining(learning_rate=0.05),
    "momentum": LocalTraining(learning_rate=0.02, momentum=0.9),
    "adam": LocalTraining(optimizer="adam", learning_rate=0.001),
}


class Dropping(nn.Module):
    """Dropout of every kind, in and out of a channels-last format."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.channels, self.values = nn.Dropout2d(0.3), nn.Dropout(0.4)
        self.linear = nn.Linear(4 * 9, CLASSES)

    def forward(self, x):
        x = self.values(self.channels(self.conv(x)))
        return F.dropout(self.linear(x.flatten(1)), 0.1, self.training)


class TimeFirst(nn.Module):
    """Drops where the samples are not the first dimension."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, 5)
        self.drop, self.linear = nn.Dropout(0.3), nn.Linear(5, CLASSES)

    def forward(self, x):
        series = F.dropout(self.embedding(x).transpose(0, 1), 0.2, self.training)
        return self.linear(self.drop(series.sum(0)))


class Norms(nn.Module):
    """BatchNorm of both kinds and of all settings, and other norms."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2)
        self.norm = nn.BatchNorm2d(4, momentum=0.3)
        self.linear = nn.Linear(4 * 9, 24)
        self.flat = nn.BatchNorm1d(24, affine=False)
        self.groups, self.layer = nn.GroupNorm(2, 24), nn.LayerNorm(24)
        self.out = nn.Linear(24, CLASSES)

    def forward(self, x):
        x = F.avg_pool2d(F.gelu(self.norm(self.conv(x))), 1)
        x = self.layer(self.groups(self.linear(x.reshape(x.size(0), -1))))
        return self.out(self.flat(x))


class Attention(nn.Module):
    """A transformer: torch's layer, and one written by hand, with tied and frozen weights."""

    def __init__(self, dropout=0.1, norm_first=False):
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, 8)
        self.position = nn.Embedding(6, 8)
        # No ReLU: a rounding may decide its side, and then a value differs by more than a rounding.
        self.encoder = nn.TransformerEncoderLayer(
            8, 2, 11, dropout, F.gelu, batch_first=True, norm_first=norm_first
        )
        self.qkv = nn.Linear(8, 24)
        self.scale = nn.Parameter(torch.full((8,), 0.7), requires_grad=False)
        self.unused = nn.Parameter(torch.ones(3))
        self.register_buffer("steps", torch.arange(6), persistent=False)

    def forward(self, x):
        x = self.embedding(x) + self.position(self.steps)
        x = self.encoder(x) * self.scale
        b, t, d = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, 2, d // 2).permute(2, 0, 3, 1, 4)
        x = x + F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, d)
        return F.linear(F.silu(x).mean(1), self.embedding.weight)


class Unusual(nn.Module):
    """Layers and functions that have no form of their own here."""

    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(2, 3, 2)
        self.mix = nn.Bilinear(9, 9, 4)
        self.relu = nn.PReLU()
        self.out = nn.Parameter(torch.linspace(-1, 1, 4 * CLASSES).view(4, CLASSES))

    def forward(self, x):
        x = self.relu(self.up(x)).amax((2, 3)).repeat(1, 3)
        return torch.einsum("bi,ij->bj", torch.sin(self.mix(x, x.flip(1))), self.out)


class Branching(nn.Module):
    """Cannot be traced, but goes through vmap: it asks for the type of its input."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, CLASSES)

    def forward(self, x):
        if not isinstance(x, torch.Tensor):
            raise TypeError("a tensor, please")
        return self.linear(x.flatten(1)).sigmoid() * 3


OWN = {
    "a layer": Case(lambda: nn.Linear(7, CLASSES), (7,)),
    "dropout": Case(Dropping, (2, 5, 5)),
    "time first": Case(TimeFirst, (6,), CLASSES),
    "norms": Case(Norms, (2, 5, 5)),
    "transformer": Case(Attention, (6,), CLASSES),
    "norm first": Case(lambda: Attention(0.0, True), (6,), CLASSES),
    "unusual": Case(Unusual, (2, 3, 3)),
    "branching": Case(Branching, (2, 3)),
}


@cache
def trainer_of(name: str, batch_clients: int = 3) -> tuple[CohortTrainer, Model]:
    """A trainer that trains side by side, whatever is faster."""
    trainer = CohortTrainer(Task({**SHIPPED, **OWN}[name].factory), mode="batch", batch_clients=batch_clients)
    return trainer, trainer.initial(2)


def corrections_of(trainer, clients):
    rng = np.random.default_rng(5)
    return {
        name: rng.normal(scale=0.05, size=trainer.layout.dimension).astype(np.float32) for name, _ in clients
    }


# BatchNorm has no gradient of one sample; what cannot be traced has other last bits in other company there.
UNCLIPPED = ("norms", "branching")


def the_same(a: Fit, b: Fit) -> bool:
    return (
        np.array_equal(a.delta, b.delta) and np.array_equal(a.buffers, b.buffers) and a.metrics == b.metrics
    )
