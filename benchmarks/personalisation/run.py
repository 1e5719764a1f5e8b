"""Personal layers on the ten people of `watch`: FedAvg, FedPer and FedBN, on each client's held-out part.

    python benchmarks/personalisation/run.py

Two seeds each. Writes results.json and README.md beside this file.
"""

import json
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import about  # noqa: E402

import hedgerow as hr  # noqa: E402
from hedgerow import rng  # noqa: E402
from hedgerow.client.personal import PersonalLayers, personal_model  # noqa: E402
from hedgerow.client.state import FolderState  # noqa: E402
from hedgerow.models import build  # noqa: E402

ROUNDS, SEEDS, HELD_OUT = 20, (0, 1), 0.3
LOCAL = hr.LocalTraining(optimizer="adam", learning_rate=0.002, batch_size=16, epochs=2)
METHODS = {"FedAvg": hr.fedavg, "FedPer": hr.fedper, "FedBN": hr.fedbn}


@dataclass(frozen=True)
class Parts:
    """Clients with a part of their samples: to train on, or held out."""

    by_name: dict[str, hr.Samples]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the clients."""
        return tuple(self.by_name)

    def samples(self, name: str) -> hr.Samples:
        """Of one client."""
        return self.by_name[name]


def parts(federation: hr.Federation, seed: int) -> tuple[Parts, Parts]:
    """Each client's samples, to train on and held out; windows that do not overlap, so none is in both."""
    kept, held = {}, {}
    for name in federation.names:
        data = federation.samples(name)
        order = rng.generator(seed, "held out", client=name).permutation(len(data))
        cut = round(HELD_OUT * len(data))
        kept[name], held[name] = data.take(np.sort(order[cut:])), data.take(np.sort(order[:cut]))
    return Parts(kept), Parts(held)


def measured(method: str, seed: int) -> dict[str, Any]:
    """Accuracy of each client's full model on its own held-out part, and what a client sent a round."""
    data = hr.load_dataset("watch", window=100, step=100)
    train, held = parts(data.split(hr.natural(), seed), seed)
    make = build("cnn-1d", input_shape=data.input_shape, num_classes=data.num_classes, batch_norm=True)
    trainer = hr.TorchTrainer(hr.Task(make))
    strategy = METHODS[method](sampling=hr.uniform(fraction=1.0), local=LOCAL)
    with tempfile.TemporaryDirectory() as folder:
        results = list(hr.simulate(trainer, train, strategy, rounds=ROUNDS, seed=seed, folder=Path(folder)))
        layers, state = PersonalLayers(trainer, strategy), results[-1].state
        accuracy = {}
        for name in train.names:
            store = FolderState(Path(folder) / "clients", name)
            model = personal_model(layers, store, state.model, seed=seed, round=ROUNDS + 1)
            accuracy[name] = trainer.evaluate(model, held.samples(name))["accuracy"]
    assert not any(result.dropped or result.failed for result in results)
    sent = statistics.mean(results[-1].bytes_up.values())
    return {"method": method, "seed": seed, "accuracy": accuracy, "bytes_up": sent}


def page(results: dict[str, Any]) -> str:
    """The table."""
    lines = [
        "# Personal layers",
        "",
        "The ten people of `watch` (windows of 2 s that do not overlap), `cnn-1d` with BatchNorm,",
        f"{ROUNDS} rounds of all ten; Adam, {LOCAL.epochs} epochs a round. Accuracy of each client's full",
        f"model on the {HELD_OUT:.0%} of its own windows that it did not train on, over {len(SEEDS)} seeds.",
        "",
        "| | mean of the clients | of each seed | worst client | best client | up, a client and round |",
        "|---|---|---|---|---|---|",
    ]
    for method in METHODS:
        rows = [row for row in results["runs"] if row["method"] == method]
        means = [100 * statistics.mean(row["accuracy"].values()) for row in rows]
        worst, best = (
            statistics.mean(100 * end(row["accuracy"].values()) for row in rows) for end in (min, max)
        )
        each = ", ".join(f"{mean:.1f}" for mean in means)
        lines.append(
            f"| {method} | {statistics.mean(means):.1f} % | {each} | {worst:.1f} % | {best:.1f} %"
            f" | {rows[0]['bytes_up'] / 1000:.1f} kB |"
        )
    return "\n".join([*lines, "", about.line(results), "`make bench-personalisation` writes this page.", ""])


def main() -> None:
    """Measure, and write both files."""
    results: dict[str, Any] = about.about("torch", "numpy")
    results["runs"] = [measured(method, seed) for method in METHODS for seed in SEEDS]
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "README.md").write_text(page(results))
    print((HERE / "README.md").read_text())


if __name__ == "__main__":
    main()
