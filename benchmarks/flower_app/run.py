"""One Flower app, unchanged, on our grid and on Flower's Ray engine: seconds.

    python benchmarks/flower_app/run.py [--repeats 3] [--rounds 20]

The app is tests/engines/cnn-app: Flower's FedAvg and ClientApp, a small CNN,
100 clients of 50 pictures of the embedded Fashion-MNIST, 10 asked a round.
The engines take turns. Writes results.json and README.md beside this file.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
APP = HERE.parents[1] / "tests" / "engines" / "cnn-app"
CLIENTS, FRACTION = 100, 0.1


def measure(engine: str, workers: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Run the app once; the final model is `folder/ENGINE.npz`.

    Flower's log says when each round begins; the first two are left out of the
    seconds a round, as some workers still read their data in them.
    """
    config = f"num-server-rounds={rounds} fraction-train={FRACTION} out='{engine}.npz'"
    command = [
        sys.executable,
        "-c",
        "from hedgerow.experiments.cli.main import main; main()",
        "simulate",
        str(APP),
    ]
    command += ["--clients", str(CLIENTS), "--workers", str(workers), "--engine", engine, "-c", config]
    env = {**os.environ, "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    began, marks, log = time.perf_counter(), [], []
    with subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            log.append(line)
            if "[ROUND " in line or "Strategy execution finished" in line:
                marks.append(time.perf_counter() - began)
    messages = rounds * round(CLIENTS * FRACTION)
    if process.returncode or len(marks) != rounds + 1 or not any(f" {messages} messages, " in x for x in log):
        raise SystemExit(f"{engine} failed:\n{''.join(log)}")
    return {
        "engine": engine,
        "seconds": round(time.perf_counter() - began, 2),
        "seconds_to_the_end_of_the_first_round": round(marks[1], 2),
        "seconds_a_round": round((marks[-1] - marks[2]) / (rounds - 2), 4),
    }


def measure_all(workers: int, rounds: int, repeats: int) -> list[dict[str, Any]]:
    """Both engines in turns; a line each time."""
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(repeats):
            for engine in ("hedgerow", "flower"):
                lines.append(measure(engine, workers, rounds, folder))
                print(lines[-1], flush=True)
            ours, theirs = (np.load(folder / f"{engine}.npz") for engine in ("hedgerow", "flower"))
            if not all(ours[key].tobytes() == theirs[key].tobytes() for key in ours.files):
                raise SystemExit("the two engines did not give the same model")
    return lines


def page(results: dict[str, Any]) -> str:
    """The results as a page."""
    rows = []
    for name, key in (
        ("a round", "seconds_a_round"),
        ("to the end of the first round", "seconds_to_the_end_of_the_first_round"),
        (f"all, {results['rounds']} rounds", "seconds"),
    ):
        ours, theirs = (
            statistics.median(line[key] for line in results["lines"] if line["engine"] == engine)
            for engine in ("hedgerow", "flower")
        )
        rows.append(f"| {name} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.1f}x |")
    table = "\n".join(rows)
    return f"""# A Flower app on two engines

Seconds, median of {results["repeats"]} runs in turns, of one unchanged Flower app (`tests/engines/cnn-app`:
FedAvg, a CNN of 60,000 parameters, {CLIENTS} clients of 50 pictures, 10 asked a round) with
`hedgerow simulate --workers {results["workers"]}`, and with `--engine flower`: Flower's simulation on Ray,
with as many actors of one core each. (As Flower is set up by default, an actor takes two cores.)
Both engines gave the same model, bit for bit.

| | ours | Flower on Ray | |
|---|---|---|---|
{table}

{results["date"]}, commit {results["commit"]}, {results["machine"]}; {results["versions"]}.
`python benchmarks/flower_app/run.py` writes this page.
"""


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--rounds", type=int, default=20)
    options.add_argument("--workers", type=int, default=2)
    given = options.parse_args()
    lines = measure_all(given.workers, given.rounds, given.repeats)
    git = ["git", "describe", "--always", "--dirty"]
    results = {
        "date": date.today().isoformat(),
        "commit": subprocess.run(git, cwd=HERE, capture_output=True, text=True, check=False).stdout.strip(),
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "versions": ", ".join(f"{name} {version(name)}" for name in ("flwr", "ray", "torch"))
        + f", Python {platform.python_version()}",
        "workers": given.workers,
        "rounds": given.rounds,
        "repeats": given.repeats,
        "lines": lines,
    }
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "README.md").write_text(page(results))


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.is_file()
        else []
    )
    return names[0].partition(":")[2].strip() if names else platform.machine()


if __name__ == "__main__":
    main()
