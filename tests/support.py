"""A small federation in pure numpy: real training, milliseconds a round."""

from dataclasses import dataclass

import numpy as np

from hedgerow import rng
from hedgerow.types import Fit, Layout, LocalTraining, Model, Samples, Tensor

DIMENSION = 40
LAYOUT = Layout((Tensor("a", (4, 5)), Tensor("b", (20,))))


@dataclass(frozen=True)
class MeanTrainer:
    """Learns the mean of the samples by gradient descent on their squared distance."""

    layout: Layout = LAYOUT

    def initial(self, seed: int) -> Model:
        return Model(rng.generator(seed, "initial model").normal(size=DIMENSION).astype(np.float32))

    def fit(
        self, model: Model, data: Samples, local: LocalTraining, *, seed: int, round: int, client: str
    ) -> Fit:
        w = model.parameters.copy()
        for _ in range(local.epochs):
            w -= np.float32(local.learning_rate_at(round)) * (w - data.x.mean(0))
        loss = float(((model.parameters - data.x) ** 2).sum(1).mean())
        return Fit(w - model.parameters, np.empty(0, np.float32), len(data), {"loss": loss})

    def evaluate(self, model: Model, data: Samples) -> dict[str, float]:
        return {"loss": float(((model.parameters - data.x) ** 2).sum(1).mean())}


@dataclass(frozen=True)
class Clients:
    """Clients with their own samples."""

    by_name: dict[str, Samples]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.by_name)

    def samples(self, name: str) -> Samples:
        return self.by_name[name]


def clients(number: int, seed: int = 0) -> Clients:
    made = {}
    for i in range(number):
        random = rng.generator(seed, "samples", client=str(i))
        n = int(random.integers(1, 30))
        x = random.normal(i % 3, 1, size=(n, DIMENSION)).astype(np.float32)
        made[f"client-{i:03d}"] = Samples(x, np.zeros(n, np.int64))
    return Clients(made)
