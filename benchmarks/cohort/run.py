"""One round of local training: clients one after another, and side by side.

    python benchmarks/cohort/run.py [--only MODEL ...] [--clients 100] [--repeats 5] [--out FILE]

The workload: each client has 50 samples (or sizes from a power law), batch 10,
one epoch, lr 0.1; one process, one thread. Loop and batch take turns, and the
shortest of the repeats counts. `chosen` is what `CohortTrainer` took by itself.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hedgerow.client.cohort import CohortTrainer
from hedgerow.client.task import Task
from hedgerow.models import build
from hedgerow.types import LocalTraining, Samples

IMAGE, SERIES, TEXT = (1, 28, 28), (6, 100), (80,)
CHARACTERS = 80


class Transformer(nn.Module):
    """Two layers of torch's encoder on characters."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CHARACTERS, 64)
        self.position = nn.Parameter(torch.zeros(TEXT[0], 64))
        layers = [nn.TransformerEncoderLayer(64, 4, 128, 0.1, batch_first=True) for _ in range(2)]
        self.layers = nn.Sequential(*layers)
        self.linear = nn.Linear(64, CHARACTERS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(n, length) int64 -> (n, characters)` scores."""
        scores: torch.Tensor = self.linear(self.layers(self.embedding(x) + self.position).mean(1))
        return scores


def mlp() -> nn.Module:
    """784-76-10, 60 thousand parameters."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 76), nn.ReLU(), nn.Linear(76, 10))


def lenet() -> nn.Module:
    """5x5x32, 5x5x64, 512: 582 thousand parameters."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 5), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(32, 64, 5), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 10)),
    )


@dataclass(frozen=True)
class Row:
    """A model, its data, and how the sizes of the clients are spread."""

    factory: Callable[[], Any]
    shape: tuple[int, ...]
    power_law: bool = False


def shipped(name: str, shape: tuple[int, ...], **options: Any) -> Callable[[], Any]:
    """A model that comes with Hedgerow."""
    classes = CHARACTERS if shape == TEXT else 10
    return build(name, input_shape=shape, num_classes=classes, **options)


ROWS = {
    "mlp": Row(mlp, IMAGE),
    "cnn-small": Row(shipped("cnn-small", IMAGE), IMAGE),
    "lenet": Row(lenet, IMAGE),
    "logistic": Row(shipped("logistic", IMAGE), IMAGE),
    "mlp-2nn": Row(shipped("mlp-2nn", IMAGE), IMAGE),
    "cnn-fedavg": Row(shipped("cnn-fedavg", IMAGE), IMAGE),
    "cnn-1d": Row(shipped("cnn-1d", SERIES), SERIES),
    "resnet-gn-tiny": Row(shipped("resnet-gn-tiny", IMAGE), IMAGE),
    "gru-char": Row(shipped("gru-char", TEXT), TEXT),
    "lstm-char": Row(shipped("lstm-char", TEXT), TEXT),
    "transformer": Row(Transformer, TEXT),
    "mlp, power law": Row(mlp, IMAGE, power_law=True),
    "cnn-small, power law": Row(shipped("cnn-small", IMAGE), IMAGE, power_law=True),
}


def clients_of(row: Row, number: int) -> list[tuple[str, Samples]]:
    """Random samples: what they show does not change the time."""
    rng = np.random.default_rng(0)
    # Pareto with exponent 1.5 from 17 samples up, cut at 1,000: about 45 on average, half below 27.
    sizes = np.minimum(17 * (1 - rng.random(number)) ** (-1 / 1.5), 1000) if row.power_law else [50] * number
    clients = []
    for k, size in enumerate(map(int, sizes)):
        shape = (size, *row.shape)
        text = row.shape == TEXT
        x = rng.integers(CHARACTERS, size=shape) if text else rng.normal(size=shape).astype(np.float32)
        clients.append((f"client {k}", Samples(x, rng.integers(10, size=size))))
    return clients


def measure(name: str, number: int, repeats: int) -> dict[str, Any]:
    """Seconds of a round in a loop and as chosen, taking turns."""
    row = ROWS[name]
    trainer = CohortTrainer(Task(row.factory))
    model, clients, local = trainer.initial(0), clients_of(row, number), LocalTraining()
    started = time.perf_counter()
    choice = trainer.choose(model, clients, local, seed=0, round=1)
    choosing = time.perf_counter() - started
    loop, chosen = [], []
    for round in range(1, repeats + 1):
        started = time.perf_counter()
        for client, data in clients:
            trainer.fit(model, data, local, seed=0, round=round, client=client)
        loop.append(time.perf_counter() - started)
        started = time.perf_counter()
        for client, fit in trainer.fit_many(model, clients, local, seed=0, round=round):
            if isinstance(fit, Exception):
                raise RuntimeError(f"{name}, {client}") from fit
        chosen.append(time.perf_counter() - started)
    return {
        "model": name,
        "parameters": trainer.layout.dimension,
        "clients": number,
        "loop_seconds": round_(min(loop)),
        "chosen_seconds": round_(min(chosen)),
        "choosing_seconds": round_(choosing),
        "choice": asdict(choice),
    }


def round_(seconds: float) -> float:
    """Four digits after the point."""
    return float(f"{seconds:.4f}")


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS))
    options.add_argument("--clients", type=int, default=100)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--out", type=Path, help="a JSON file for the results")
    given = options.parse_args()
    torch.set_num_threads(1)
    print(f"{'model':22}{'parameters':>11}{'loop s':>9}{'chosen s':>10}{'ratio':>7}  chosen, after")
    results = []
    for name in given.only:
        result = measure(name, given.clients, given.repeats)
        results.append(result)
        choice = result["choice"]
        what = "loop" if choice["method"] == "loop" else f"{choice['at_once']} at once"
        print(
            f"{name:22}{result['parameters']:>11,}{result['loop_seconds']:>9.3f}"
            f"{result['chosen_seconds']:>10.3f}{result['loop_seconds'] / result['chosen_seconds']:>7.2f}"
            f"  {what}, {result['choosing_seconds']:.1f} s ({choice['why']})",
            flush=True,
        )
    if given.out:
        given.out.write_text(json.dumps({"date": date.today().isoformat(), "rows": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
