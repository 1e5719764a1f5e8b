"""The recipe `unlike` with a time budget and without one, after equal time by the devices' own clocks.

    python benchmarks/unlike/run.py [PART ...]

Three seeds each: with data that do not depend on the device (`dealt`, as in the recipe), and with five
classes on the fast devices alone and the other five on the slow ones (`apart`), also with small steps. Writes
results.json and README.md beside this file; a part that is not named stays as it was measured.
"""

import json
import statistics
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import about  # noqa: E402

import hedgerow as hr  # noqa: E402
from hedgerow import rng  # noqa: E402
from hedgerow.experiments.config.recipe import load  # noqa: E402
from hedgerow.simulation.devices.base import Devices  # noqa: E402

SECONDS, SEEDS = 40.0, (0, 1, 2)
FAST, SLOW = "laptop", "pi"
STEP_SECONDS = {FAST: 0.01, SLOW: 0.2}
CLASSES = {FAST: range(5), SLOW: range(5, 10)}
ALL_EPOCHS = ["strategy.name=fedavg", "local.time_budget=0.0"]
WAYS = {
    "all epochs, FedAvg": ALL_EPOCHS,
    "all epochs, FedAvg, laptops only": ALL_EPOCHS,
    "1 s a round, FedAvg": ["strategy.name=fedavg"],
    "1 s a round, FedNova": [],
}
PARTS = {
    "dealt": "Data that do not depend on the device: Dirichlet 0.3, as in the recipe.",
    "apart": "Classes 0 to 4 on ten laptops alone, 5 to 9 on ten Pis; within each half, dealt evenly.",
    "apart, small steps": "The same, with a learning rate of 0.003, after twice the time.",
}


@dataclass(frozen=True)
class Given:
    """Clients with their samples."""

    by_name: Mapping[str, hr.Samples]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the clients."""
        return tuple(self.by_name)

    def samples(self, name: str) -> hr.Samples:
        """Of one client."""
        return self.by_name[name]


def dealt(experiment: Any) -> tuple[Given, Devices]:
    """The recipe's clients and devices."""
    federation = experiment.federation()
    return Given(
        {name: federation.samples(name) for name in federation.names}
    ), experiment.described_devices()


def named(seed: int, client: str) -> tuple[str, float]:
    """The device of a client whose name says it."""
    kind = client.partition("-")[0]
    return kind, STEP_SECONDS[kind]


def apart(experiment: Any) -> tuple[Given, Devices]:
    """Five classes on each kind of device."""
    train, clients = experiment.dataset().train, {}
    for kind, classes in CLASSES.items():
        theirs = np.flatnonzero(np.isin(train.y, classes))
        order = rng.generator(experiment.seed, "deal", client=kind).permutation(theirs)
        for number, index in enumerate(np.array_split(order, 10)):
            clients[f"{kind}-{number}"] = train.take(index)
    return Given(clients), Devices("as named", named)


def measured(part: str, way: str, seed: int) -> dict[str, Any]:
    """Rounds, accuracy and shares of steps after `SECONDS`; a round lasts as long as its slowest device."""
    small = part.endswith("small steps")
    seconds, rate = (2 * SECONDS, 0.003) if small else (SECONDS, 0.05)
    experiment = load("unlike", [f"seed={seed}", f"local.learning_rate={rate}", *WAYS[way]])
    clients, devices = (dealt if part == "dealt" else apart)(experiment)
    kinds = {name: devices.describe(seed, name) for name in clients.names}
    if "only" in way:
        clients = Given({name: s for name, s in clients.by_name.items() if kinds[name][0] == FAST})
    strategy, trainer = experiment.strategy(), hr.TorchTrainer(experiment.task())
    full = {name: strategy.local.steps(len(clients.samples(name))) for name in clients.names}
    model, done, passed = trainer.initial(seed), 0, 0.0
    taken: dict[str, list[float]] = {FAST: [], SLOW: []}
    for result in hr.simulate(trainer, clients, strategy, rounds=10_000, seed=seed, devices=devices):
        shares = {name: result.steps_taken.get(name, 1.0) for name in result.cohort}
        passed += max(share * full[name] * kinds[name][1] for name, share in shares.items())
        if passed > seconds:
            break
        assert not result.dropped
        assert not result.failed
        model, done = result.state.model, result.round
        for name, share in shares.items():
            taken[kinds[name][0]].append(share)
    test = experiment.dataset().test
    halves = {kind: test.take(np.flatnonzero(np.isin(test.y, classes))) for kind, classes in CLASSES.items()}
    return {
        "way": way, "seed": seed, "rounds": done,
        "accuracy": trainer.evaluate(model, test)["accuracy"],
        "classes": {kind: trainer.evaluate(model, half)["accuracy"] for kind, half in halves.items()},
        "steps": {kind: statistics.fmean(found) if found else 0.0 for kind, found in taken.items()},
    }  # fmt: skip


def page(results: dict[str, Any]) -> str:
    """The tables."""
    lines = [
        "# Unlike devices",
        "",
        "The recipe `unlike`: Fashion-MNIST among 20 clients, ten of them in a round; half of the devices",
        f"take 0.2 s for a step, the others 0.01 s. Test accuracy after {SECONDS:g} s of training by the",
        f"devices' clocks, where a round lasts as long as its slowest device; {len(SEEDS)} seeds.",
    ]
    for part, text in ((part, text) for part, text in PARTS.items() if part in results):
        lines += [
            "", text, "",
            "| | accuracy | of each seed | classes 0 to 4 | classes 5 to 9 | rounds | steps, laptop | pi |",
            "|---|---|---|---|---|---|---|---|",
        ]  # fmt: skip
        ways = dict.fromkeys(run["way"] for run in results[part]["runs"])
        lines += [_row(way, [r for r in results[part]["runs"] if r["way"] == way]) for way in ways]
        lines += ["", about.line(results[part])]
    return "\n".join([*lines, "`python benchmarks/unlike/run.py` writes this page.", ""])


def _row(way: str, rows: list[dict[str, Any]]) -> str:
    each = ", ".join(f"{100 * row['accuracy']:.1f}" for row in rows)
    means = [100 * statistics.fmean(values) for values in (
        [row["accuracy"] for row in rows],
        *([row["classes"][kind] for row in rows] for kind in (FAST, SLOW)),
        *([row["steps"][kind] for row in rows] for kind in (FAST, SLOW)),
    )]  # fmt: skip
    rounds = statistics.fmean(row["rounds"] for row in rows)
    return (
        f"| {way} | {means[0]:.1f} % | {each} | {means[1]:.1f} % | {means[2]:.1f} % | {rounds:.0f}"
        f" | {means[3]:.0f} % | {means[4]:.0f} % |"
    )


def main() -> None:
    """Measure, and write both files."""
    file = HERE / "results.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for part in sys.argv[1:] or PARTS:
        cells = [(part, way, seed) for way in WAYS for seed in SEEDS if "small" not in part or "1 s" in way]
        with ProcessPoolExecutor(2) as pool:
            runs = list(pool.map(measured, *zip(*cells, strict=True)))
        results[part] = about.about("torch", "numpy") | {"runs": runs}
    file.write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "README.md").write_text(page(results))
    print((HERE / "README.md").read_text())


if __name__ == "__main__":
    main()
