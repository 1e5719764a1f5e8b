"""What a registered client costs that is not sampled: a run of 1,000, 100,000 and 1,000,000 of them.

    python benchmarks/scale/run.py [--repeats 3]

Each round asks 100 clients; their data come from a function of their number.
The model is small (784-76-10, 60 thousand parameters), two workers, so that what
the others cost would show. Every run is a process of its own; the sizes take turns.
Writes results.json and README.md beside this file.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "engines")]

import about  # noqa: E402
import measure  # noqa: E402

NUMBERS = (1_000, 100_000, 1_000_000)
ROUNDS, COHORT, SAMPLES = 30, 100, 50


def run_case(number: int) -> None:
    """Run the rounds, in this process, and print what they took."""
    import numpy as np
    import torch
    from torch import nn

    import hedgerow as hr

    def mlp() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 76), nn.ReLU(), nn.Linear(76, 10))

    def samples(client: int) -> hr.Samples:
        rng = np.random.default_rng(client)
        x = rng.normal(size=(SAMPLES, 1, 28, 28)).astype(np.float32)
        return hr.Samples(x, rng.integers(10, size=SAMPLES))

    torch.set_num_threads(1)
    simulate, task = hr.simulate, hr.Task(mlp)  # imported before the clock starts
    local = hr.LocalTraining(learning_rate=0.05, epochs=1, batch_size=10)
    before = measure.allocated_by_tree(os.getpid())
    began, cpu = time.perf_counter(), _cpu_seconds()
    clients = hr.from_function(number, samples)
    strategy = hr.fedavg(sampling=hr.uniform(COHORT), local=local)
    results = simulate(task, clients, strategy, rounds=ROUNDS, workers=2)
    first = next(results)
    to_first, cpu_first = time.perf_counter() - began, _cpu_seconds() - cpu
    seconds = []
    for result in results:
        if result.failed or result.dropped:
            raise RuntimeError(f"round {result.round}: {result.failed or dict(result.dropped)}")
        seconds.append(result.seconds)
        if result.round == ROUNDS:  # while the workers are there
            memory = measure.allocated_by_tree(os.getpid())
    line = {
        "clients": number,
        "start_seconds": round(to_first - first.seconds, 4),
        "first_round_seconds": round(first.seconds, 4),
        "cpu_seconds_to_the_first_round": round(cpu_first, 4),
        "seconds_a_round": round(statistics.median(seconds), 4),
        "cpu_seconds": round(_cpu_seconds(children=True) - cpu, 3),
        "mib_of_the_run": round(memory - before, 1),
    }
    print(json.dumps(line))


def _cpu_seconds(*, children: bool = False) -> float:
    """CPU seconds of this process, and of the children that ended."""
    whose = (resource.RUSAGE_SELF, *([resource.RUSAGE_CHILDREN] if children else []))
    used = [resource.getrusage(who) for who in whose]
    return sum(use.ru_utime + use.ru_stime for use in used)


def page(results: dict[str, Any]) -> str:
    """The results as a page."""
    keys = (
        "start_seconds", "first_round_seconds", "seconds_a_round", "cpu_seconds", "mib_of_the_run",
    )  # fmt: skip
    rows = []
    for number in NUMBERS:
        lines = [line for line in results["lines"] if line["clients"] == number]
        start, first, each, cpu, memory = (statistics.median(line[key] for line in lines) for key in keys)
        cells = [
            f"{start * 1e3:.0f} ms",
            f"{first:.2f} s",
            f"{each:.3f} s",
            f"{cpu:.1f} s",
            f"{memory:.0f} MiB",
        ]
        rows.append(f"| {number:,} | {' | '.join(cells)} |")
    return f"""# Registered clients

One run of {ROUNDS} rounds; each asks {COHORT} of the clients registered, whose data come from a
function of their number (`hr.from_function`). 784-76-10, {SAMPLES} samples a client, two workers. Medians
of {results["repeats"]} runs in turns, each in a process of its own; imports come before.

| clients | until the first round begins | first round | a round | CPU, whole run | memory of the run |
|---|---|---|---|---|---|
{chr(10).join(rows)}

Memory is what all processes have allocated at the last round, less that before the clients were made (a
page that several share counts once; mapped files are left out).

{about.line(results)}
`python benchmarks/scale/run.py` writes this page.
"""


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--case", type=int, choices=NUMBERS, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.case:
        run_case(given.case)
        return
    where = about.about("torch", "numpy")
    lines = []
    for _ in range(given.repeats):
        for number in NUMBERS:
            done = subprocess.run(
                [sys.executable, __file__, "--case", str(number)],
                stdout=subprocess.PIPE, text=True, check=True,
            )  # fmt: skip
            lines.append(json.loads(done.stdout.splitlines()[-1]))
            print(lines[-1], flush=True)
    results = {**where, "repeats": given.repeats, "lines": lines}
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "README.md").write_text(page(results))


if __name__ == "__main__":
    main()
