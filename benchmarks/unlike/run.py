"""The recipe `unlike` with a time budget and without one, after equal time by the devices' own clocks.

    python benchmarks/unlike/run.py

Three seeds each. Writes results.json and README.md beside this file.
"""

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import about  # noqa: E402

import hedgerow as hr  # noqa: E402
from hedgerow.experiments.config.recipe import load  # noqa: E402

SECONDS, SEEDS = 40.0, (0, 1, 2)
FAST = "laptop"
WAYS = {
    "all epochs, FedAvg": ["strategy.name=fedavg", "local.time_budget=0.0"],
    "all epochs, FedAvg, laptops only": ["strategy.name=fedavg", "local.time_budget=0.0"],
    "1 s a round, FedAvg": ["strategy.name=fedavg"],
    "1 s a round, FedNova": [],
}


@dataclass(frozen=True)
class Some:
    """Some clients of a federation."""

    federation: hr.Federation
    names: Sequence[str]

    def samples(self, name: str) -> hr.Samples:
        """Of one client."""
        return self.federation.samples(name)


def measured(way: str, seed: int) -> dict[str, Any]:
    """Rounds, accuracy and shares of steps after `SECONDS`; a round lasts as long as its slowest device."""
    experiment = load("unlike", [f"seed={seed}", *WAYS[way]])
    federation, strategy, devices = (
        experiment.federation(), experiment.strategy(), experiment.described_devices()
    )  # fmt: skip
    kinds = {name: devices.describe(seed, name) for name in federation.names}
    names = [name for name in federation.names if "only" not in way or kinds[name][0] == FAST]
    full = {name: strategy.local.steps(len(federation.samples(name))) for name in names}
    trainer = hr.TorchTrainer(experiment.task())
    model, done, passed = trainer.initial(seed), 0, 0.0
    taken: dict[str, list[float]] = {kind: [] for kind, _ in kinds.values()}
    rounds = hr.simulate(
        trainer, Some(federation, names), strategy, rounds=10_000, seed=seed, devices=devices
    )
    for result in rounds:
        shares = {name: result.steps_taken.get(name, 1.0) for name in result.cohort}
        passed += max(share * full[name] * kinds[name][1] for name, share in shares.items())
        if passed > SECONDS:
            break
        assert not result.dropped
        assert not result.failed
        model, done = result.state.model, result.round
        for name, share in shares.items():
            taken[kinds[name][0]].append(share)
    return {
        "way": way, "seed": seed, "rounds": done,
        "accuracy": trainer.evaluate(model, federation.dataset.test)["accuracy"],
        "steps": {kind: statistics.fmean(found) if found else 0.0 for kind, found in sorted(taken.items())},
    }  # fmt: skip


def page(results: dict[str, Any]) -> str:
    """The table."""
    lines = [
        "# Unlike devices",
        "",
        "The recipe `unlike`: Fashion-MNIST among 20 clients (Dirichlet 0.3), ten of them in a round; about",
        f"half of the devices take 0.2 s for a step, the others 0.01 s. Test accuracy after {SECONDS:g} s of",
        "training by the devices' clocks, where a round lasts as long as its slowest device;",
        f"{len(SEEDS)} seeds.",
        "",
        "| | accuracy | of each seed | rounds | steps, laptop | steps, pi |",
        "|---|---|---|---|---|---|",
    ]
    for way in WAYS:
        rows = [row for row in results["runs"] if row["way"] == way]
        accuracy = [100 * row["accuracy"] for row in rows]
        each = ", ".join(f"{value:.1f}" for value in accuracy)
        rounds = statistics.fmean(row["rounds"] for row in rows)
        shares = [100 * statistics.fmean(row["steps"][kind] for row in rows) for kind in ("laptop", "pi")]
        lines.append(
            f"| {way} | {statistics.fmean(accuracy):.1f} % | {each} | {rounds:.0f}"
            f" | {shares[0]:.0f} % | {shares[1]:.0f} % |"
        )
    return "\n".join(
        [*lines, "", about.line(results), "`python benchmarks/unlike/run.py` writes this page.", ""]
    )


def main() -> None:
    """Measure, and write both files."""
    results: dict[str, Any] = about.about("torch", "numpy")
    results["runs"] = [measured(way, seed) for way in WAYS for seed in SEEDS]
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "README.md").write_text(page(results))
    print((HERE / "README.md").read_text())


if __name__ == "__main__":
    main()
