"""What every system is given: the clients' data, the models and the settings. numpy and torch only.

Run as a program it makes the data files, which every script then maps into memory.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

SEED = 3  # another one wherever what is made from it changes: the files are kept by this name
DATA = Path(__file__).parent / ".envs" / f"data-{SEED}"

COHORT = 100  # clients sampled a round
SAMPLES = 50  # of each client, unless sizes follow a power law
SHARDS = 1000  # clients with data of their own; client i holds those of shard i % SHARDS
BATCH = 10
EPOCHS = 1
LEARNING_RATE = 0.1
CLASSES = 10
VOCABULARY = 80
LENGTH = 20  # characters of a text
SCORED = 5  # samples of each shard that the final check pools


@dataclass(frozen=True)
class Workload:
    """A model and the clients it is trained on."""

    name: str
    model: str
    clients: int = 1000
    power_law: bool = False

    @property
    def is_text(self) -> bool:
        """Whether samples are texts, `(20,) int64`; else images, `(1, 28, 28) float32`."""
        return self.model in ("gru", "transformer")


WORKLOADS = {
    w.name: w
    for w in (
        Workload("mlp", "mlp"),
        Workload("cnn", "cnn"),
        Workload("lenet", "lenet"),
        Workload("cnn-100k", "cnn", clients=100_000),
        Workload("resnet-gn", "resnet-gn"),
        Workload("gru", "gru"),
        Workload("transformer", "transformer"),
        Workload("cnn-power-law", "cnn", power_law=True),
    )
}


class Clients:
    """The data of all clients, mapped from a file; cheap to make, and the same in every process."""

    def __init__(self, workload: Workload) -> None:
        kind = "text" if workload.is_text else "images"
        _prepare(kind)
        # Copy on write: torch wants arrays that may be written to, and nobody writes.
        self.x = np.load(DATA / f"{kind}-x.npy", mmap_mode="c")
        self.y = np.load(DATA / f"{kind}-y.npy", mmap_mode="c")
        sizes = power_law_sizes() if workload.power_law else np.full(SHARDS, SAMPLES)
        self._ends = np.cumsum(sizes)
        self._sizes = sizes
        self.number = workload.clients

    def size(self, client: int) -> int:
        """Samples of a client."""
        return int(self._sizes[client % SHARDS])

    def arrays(self, client: int) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
        """Samples `(n, ...)` and classes `(n,) int64` of a client, without a copy."""
        end = int(self._ends[client % SHARDS])
        rows = slice(end - self.size(client), end)
        return self.x[rows], self.y[rows]

    def tensors(self, client: int) -> tuple[Tensor, Tensor]:
        """The same as torch tensors, without a copy."""
        x, y = self.arrays(client)
        return torch.from_numpy(x), torch.from_numpy(y)

    def cohort(self, round: int) -> list[int]:
        """The clients of a round, for systems whose sampling can be given."""
        return np.random.default_rng([SEED, 2, round]).choice(self.number, COHORT, replace=False).tolist()


def power_law_sizes() -> NDArray[np.int64]:
    """Samples of each shard: a Pareto law of exponent 1.2 between 8 and 1,000, 50 on average."""
    share = (np.arange(SHARDS) + 0.5) / SHARDS
    sizes = np.clip(11.0 * share ** (-1 / 1.2), 8, 1000)
    sizes = np.floor(sizes * SHARDS * SAMPLES / sizes.sum()).astype(np.int64)
    return np.random.default_rng([SEED, 3]).permutation(sizes)


def make_model(workload: Workload) -> nn.Module:
    """The model, always with the same initial values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return _MODELS[workload.model]()


def flat(model: nn.Module) -> NDArray[np.float32]:
    """All parameters of a model, one after another."""
    return nn.utils.parameters_to_vector(model.parameters()).detach().numpy().copy()


def score(workload: Workload, parameters: NDArray[np.float32]) -> tuple[float, float]:
    """Loss and accuracy on samples of all shards together: what the model has learned."""
    clients = Clients(workload)
    rows = np.concatenate([np.arange(SCORED) + end - SCORED for end in clients._ends])
    model = make_model(workload)
    nn.utils.vector_to_parameters(torch.from_numpy(parameters), model.parameters())
    x, y = torch.from_numpy(clients.x[rows]), torch.from_numpy(clients.y[rows])
    with torch.no_grad():
        outputs = torch.cat([model(part) for part in x.split(500)])
    loss = nn.functional.cross_entropy(outputs, y).item()
    return loss, (outputs.argmax(1) == y).float().mean().item()


def _prepare(kind: str) -> None:
    if (DATA / f"{kind}-y.npy").exists():
        return
    DATA.mkdir(parents=True, exist_ok=True)
    x, y = (_texts if kind == "text" else _images)(SHARDS * SAMPLES)
    for name, array in (("x", x), ("y", y)):  # y last: where it is, x is too
        part = DATA / f"{kind}-{name}.{os.getpid()}.npy"
        np.save(part, array)
        part.replace(DATA / f"{kind}-{name}.npy")


def _images(number: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """A coarse pattern for each class, under noise."""
    rng = np.random.default_rng([SEED, 0])
    patterns = np.kron(rng.standard_normal((CLASSES, 1, 7, 7)), np.ones((1, 1, 4, 4))).astype(np.float32)
    y = rng.integers(CLASSES, size=number)
    x = rng.standard_normal((number, 1, 28, 28), dtype=np.float32)
    x += patterns[y]
    return x, y


def _texts(number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Texts of a Markov chain in which some characters are far more frequent; the next one is the class."""
    rng = np.random.default_rng([SEED, 1])
    popularity = 1.0 / np.arange(1, VOCABULARY + 1)
    chances = popularity * rng.gamma(0.5, size=(VOCABULARY, VOCABULARY))
    steps = np.cumsum(chances / chances.sum(1, keepdims=True), axis=1)
    text = np.empty((number, LENGTH + 1), np.int64)
    text[:, 0] = rng.integers(VOCABULARY, size=number)
    for position in range(LENGTH):
        drawn = (rng.random((number, 1)) > steps[text[:, position]]).sum(1)
        text[:, position + 1] = np.minimum(drawn, VOCABULARY - 1)
    return text[:, :LENGTH].copy(), text[:, LENGTH].copy()


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 76), nn.ReLU(), nn.Linear(76, CLASSES))


def _convolutional(first: int, second: int, hidden: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, first, 5), nn.MaxPool2d(2), nn.ReLU(),
        nn.Conv2d(first, second, 5), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(16 * second, hidden), nn.ReLU(), nn.Linear(hidden, CLASSES),
    )  # fmt: skip


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(4, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(4, outputs)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


def _residual() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.GroupNorm(4, 16), nn.ReLU(),
        _Residual(16, 16, 1), _Residual(16, 32, 2), _Residual(32, 64, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES),
    )  # fmt: skip


class _Gru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 8)
        self.recurrent = nn.GRU(8, 128, batch_first=True)
        self.linear = nn.Linear(128, VOCABULARY)

    def forward(self, characters: Tensor) -> Tensor:
        states, _ = self.recurrent(self.embedding(characters))
        return self.linear(states[:, -1])


class _Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 64)
        self.position = nn.Parameter(0.02 * torch.randn(LENGTH, 64))
        layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.linear = nn.Linear(64, VOCABULARY)

    def forward(self, characters: Tensor) -> Tensor:
        states = self.layers(self.embedding(characters) + self.position)
        return self.linear(states.mean(1))


_MODELS = {
    "mlp": _mlp,
    "cnn": lambda: _convolutional(8, 16, 212),
    "lenet": lambda: _convolutional(32, 64, 512),
    "resnet-gn": _residual,
    "gru": _Gru,
    "transformer": _Transformer,
}


if __name__ == "__main__":
    for kind in ("images", "text"):
        _prepare(kind)
