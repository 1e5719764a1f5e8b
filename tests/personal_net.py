"""A small model with norms and a head, six clients, and strategies that keep parts of it personal."""

import numpy as np
from torch import nn

import hedgerow as hr
from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.types import LocalTraining, Samples

WIDTH = 6
LOCAL = LocalTraining(learning_rate=0.1, batch_size=8, epochs=2)


class Net(nn.Module):
    """A body with two norms, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(WIDTH, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.norm(self.body(x)))


def samples(number: int) -> Samples:
    rng = np.random.default_rng(number)
    n = 9 + 5 * (number % 3)
    return Samples(rng.normal(number, 1, size=(n, WIDTH)).astype(np.float32), rng.integers(3, size=n))


DATA = hr.from_function(6, samples)
TRAINER = TorchTrainer(Task(Net))
HEAD = ("head.bias", "head.weight")
NORMS = (
    "body.1.bias",
    "body.1.running_mean",
    "body.1.running_var",
    "body.1.weight",
    "norm.bias",
    "norm.weight",
)


def per(**parts) -> hr.Strategy:
    return hr.fedper(**{"sampling": hr.uniform(4), "local": LOCAL, **parts})


def bn(**parts) -> hr.Strategy:
    return hr.fedbn(**{"sampling": hr.uniform(4), "local": LOCAL, **parts})


def run(strategy, rounds=3, task=TRAINER, **options):
    return list(hr.simulate(task, DATA, strategy, rounds=rounds, seed=3, **options))
