"""What a device sends for updates that it is given, by the code of whichever environment runs this program.

    python sent.py FOLDER     prints a SHA-256 for each reply, by run, device and round

In the folder are `graphs`, `strategies.json` (each run's, described), `about.json` (what devices sent beside
their updates, round by round) and `updates.npz` (`(rounds, d) float32` of each device).
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow.client.answer import respond
from hedgerow.client.client_round import ClientConfig, LocalClient
from hedgerow.client.state import StateStore
from hedgerow.graphs.bundle import TRAIN, Graphs
from hedgerow.graphs.signature import signature_of
from hedgerow.recipe.strategy import build
from hedgerow.types import Fit, Layout, Model, Samples
from hedgerow.wire.codec import encode
from hedgerow.wire.content import Content
from hedgerow.wire.messages import pack_train

SEED = 0


@dataclass(frozen=True)
class Given:
    """A trainer that is told what it learns in each round."""

    layout: Layout
    fits: Sequence[Fit]
    supports = frozenset({"momentum"})

    def initial(self, seed: int) -> Model:
        return Model(np.zeros(self.layout.dimension, np.float32))

    def fit(self, model: Model, data: Samples, local: Any, *, round: int, **where: Any) -> Fit:
        return self.fits[round - 1]

    def evaluate(self, model: Model, data: Samples) -> dict[str, float]:
        return {}


def some_samples() -> Samples:
    """They have no part in what is sent."""
    return Samples(np.zeros((1, 1), np.float32), np.zeros(1, np.int64))


def sent(folder: Path) -> Iterator[tuple[str, str, int, Content]]:
    """`(run, device, round, reply)`: as it is sent, or as it is before its masks are added."""
    layout = signature_of(Graphs.read(folder / "graphs").manifest["graphs"][TRAIN], "train").layout
    about, updates = json.loads((folder / "about.json").read_text()), np.load(folder / "updates.npz")
    for run, described in json.loads((folder / "strategies.json").read_text()).items():
        strategy = build(described)
        for device, rounds in about.items():
            buffers = np.empty(0, np.float32)
            fits = [
                Fit(update, buffers, beside["examples"], beside["metrics"])
                for update, beside in zip(updates[device], rounds, strict=True)
            ]
            trainer = Given(layout, fits)
            config = ClientConfig(strategy, trainer, unmasked=True)
            client = LocalClient(device, some_samples, StateStore())
            clients = len(about) if strategy.pipeline.sum_only else 0
            for round in range(1, len(fits) + 1):
                asked = pack_train(trainer.initial(SEED), layout, round=round, seed=SEED, clients=clients)
                yield run, device, round, respond(config, client, "train", asked)


def main() -> None:
    found = {
        f"{run} {device} {round}": hashlib.sha256(encode(content)).hexdigest()
        for run, device, round, content in sent(Path(sys.argv[1]))
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
