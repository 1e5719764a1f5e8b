"""The FedAvg paper's figures on MNIST (arXiv:1602.05629, tables 1 and 2), measured and written down.

    python benchmarks/papers/run.py [--only mnist-2nn-iid] [--seeds 3]

Needs MNIST's four files in the cache (they are fetched where there is a
network; see `hedgerow data mnist`). Writes results.json and README.md beside
this file.
"""

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Claim:
    """A line of the paper's table, and how many seeds we run for it."""

    recipe: str
    what: str
    target: float
    rounds: int
    seeds: int


CLAIMS = [
    Claim("mnist-2nn-iid", "2NN, E=1, B=10, C=0.1, IID", 0.97, 87, 5),
    Claim("mnist-cnn-iid", "CNN, E=5, B=10, C=0.1, IID", 0.99, 20, 2),
]


def measure(claim: Claim, seed: int) -> dict[str, Any]:
    """Run one seed to the paper's number of rounds."""
    from hedgerow.experiments.config.recipe import load
    from hedgerow.experiments.runs.run import run_experiment

    started = time.time()
    with tempfile.TemporaryDirectory() as folder:
        run = run_experiment(
            load(claim.recipe, [f"seed={seed}", f"rounds={claim.rounds}"]), Path(folder) / "run"
        )
        lines = run.rounds()
        strategy, local = run.config["strategy"], run.config["local"]
    curve = [line["evaluation"]["accuracy"] for line in lines]
    reached = next(
        (line["round"] for line, accuracy in zip(lines, curve, strict=True) if accuracy >= claim.target), None
    )
    return {
        "recipe": claim.recipe,
        "seed": seed,
        "learning_rate": local["learning_rate"],
        "fraction": strategy.get("fraction"),
        "round_reached": reached,
        "best_accuracy": max(curve),
        "final_accuracy": curve[-1],
        "accuracy_by_round": curve,
        "seconds": round(time.time() - started, 1),
    }


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--only", choices=[claim.recipe for claim in CLAIMS])
    options.add_argument("--seeds", type=int, help="seeds of each claim")
    given = options.parse_args()
    file = HERE / "results.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    jobs = [
        (claim, seed)
        for claim in CLAIMS
        if given.only in (None, claim.recipe)
        for seed in range(given.seeds or claim.seeds)
    ]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        runs = list(pool.map(measure, *zip(*jobs, strict=True)))
    for claim in {claim.recipe: claim for claim, _ in jobs}.values():
        results[claim.recipe] = {"about": about(), "runs": [r for r in runs if r["recipe"] == claim.recipe]}
    file.write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "README.md").write_text(page(results))
    print(page(results))


def about() -> dict[str, Any]:
    """Where and when."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True)
    return {
        "date": date.today().isoformat(),
        "commit": commit.stdout.strip() or "not committed",
        "machine": f"{cpu()}, {os.cpu_count()} cores, one thread a run",
        "versions": {name: version(name) for name in ("hedgerow", "torch", "flwr", "numpy")},
    }


def cpu() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def page(results: dict[str, Any]) -> str:
    """The table, as Markdown."""
    text = (
        "# The FedAvg paper on MNIST\n\n"
        "McMahan et al. 2017 (arXiv:1602.05629), tables 1 and 2: rounds to a test accuracy; 100 clients"
        " of 600 images, ten a round. The paper's figures are for the best learning rate of a grid, ours for"
        " the one shown. Seconds are wall time with as many runs at once as there are cores, on a shared"
        " machine.\n\n"
        "`make papers` writes this page.\n\n"
        "| model | target | the paper's rounds | ours, by seed | best accuracy in these rounds, by seed"
        " | learning rate | seconds a run |\n|---|---|---|---|---|---|---|\n"
    )
    for claim in CLAIMS:
        if claim.recipe not in results:
            continue
        runs = results[claim.recipe]["runs"]
        reached = ", ".join(str(r["round_reached"] or f"not in {claim.rounds}") for r in runs)
        best = ", ".join(f"{100 * r['best_accuracy']:.2f} %" for r in runs)
        seconds = f"{min(r['seconds'] for r in runs):.0f} to {max(r['seconds'] for r in runs):.0f}"
        text += (
            f"| {claim.what} | {100 * claim.target:g} % | {claim.rounds} | {reached} | {best}"
            f" | {runs[0]['learning_rate']} | {seconds} |\n"
        )
    for claim in CLAIMS:
        if claim.recipe in results:
            where = results[claim.recipe]["about"]
            text += f"\n`{claim.recipe}`: {where['date']}, commit {where['commit']}, {where['machine']}.\n"
    return text


if __name__ == "__main__":
    main()
