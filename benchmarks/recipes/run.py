"""What the private recipes reach, with several seeds: the figures that the guide quotes.

    python benchmarks/recipes/run.py

Each run is `hedgerow run RECIPE seed=N`, in `runs/recipes`; one that was
stopped goes on. Writes results.json and README.md beside this file.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RUNS = HERE.parents[1] / "runs" / "recipes"
sys.path.insert(0, str(HERE.parent))

import about  # noqa: E402

RECIPES = ("private", "private-secure")
SEEDS = range(4)
COMMAND = [sys.executable, "-c", "from hedgerow.experiments.cli.main import main; main()"]


def hedgerow(*arguments: str) -> str:
    """What the command prints."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"hedgerow {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def measured(recipe: str) -> dict[str, Any]:
    """What `hedgerow compare` says of all its seeds; runs that are done are not run again."""
    folders = [str(RUNS / f"{recipe}-{seed}") for seed in SEEDS]
    for seed, folder in zip(SEEDS, folders, strict=True):
        if Path(folder).is_dir():
            hedgerow("resume", folder)
        else:
            hedgerow("run", recipe, f"seed={seed}", "--workers", "1", "--out", folder)
    (row,) = json.loads(hedgerow("compare", *folders, "--json"))
    assert row["finished"]
    return row  # type: ignore[no-any-return]


def page(results: dict[str, Any]) -> str:
    """The table."""
    lines = [
        "# What the private recipes reach",
        "",
        f"`hedgerow run RECIPE seed=N`, N from 0 to {max(SEEDS)}: Fashion-MNIST, 1,000 clients with six",
        "pictures each, noise from the seed (a simulation). ± is the sample standard deviation.",
        "",
        "| recipe | accuracy | of each seed | epsilon | delta | rounds | up, a client and round |",
        "|---|---|---|---|---|---|---|",
    ]
    for recipe, row in results["recipes"].items():
        reached = [100 * one for one in row["accuracies"]]
        lines.append(
            f"| `{recipe}` | {statistics.mean(reached):.1f} ± {statistics.stdev(reached):.1f} %"
            f" | {', '.join(f'{one:.1f}' for one in reached)} | {row['epsilon']:.2f} | {row['delta']:g}"
            f" | {row['rounds']} | {row['bytes_up_per_client'] / 1000:.1f} kB |"
        )
    return "\n".join([*lines, "", about.line(results), "`make bench-recipes` writes this page.", ""])


def main() -> None:
    """Measure, and write both files."""
    results: dict[str, Any] = about.about("torch", "numpy", "dp-accounting")
    results["recipes"] = {recipe: measured(recipe) for recipe in RECIPES}
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "README.md").write_text(page(results))
    print((HERE / "README.md").read_text())


if __name__ == "__main__":
    main()
