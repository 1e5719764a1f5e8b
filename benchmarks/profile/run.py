"""What profiling itself takes: the same run with and without, in turns.

    python benchmarks/profile/run.py [--repeats 7]

A model that trains in no time, so that every microsecond a client shows; and a small
one that trains as models do. Every run is a process of its own; CPU seconds, because
they are less noisy than the clock's. Writes results.json and README.md beside this file.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import about  # noqa: E402

COHORT = 100
CASES = {  # name: rounds, workers
    "nothing to train, 1 worker": (100, 1),
    "nothing to train, 2 workers": (100, 2),
    "784-76-10, 50 samples a client, 1 worker": (20, 1),
    "784-76-10, 50 samples a client, 2 workers": (20, 2),
}


def run_case(name: str, profiled: bool) -> None:
    """Run the rounds, in this process, and print what they took."""
    import numpy as np
    import torch
    from torch import nn

    import hedgerow as hr
    from hedgerow.types import Fit, Layout, Model

    class Nothing:
        layout = Layout.flat(1000)

        def initial(self, seed: int) -> Model:
            return Model(np.zeros(1000, np.float32))

        def fit(self, model: Model, data: Any, local: Any, *, seed: int, round: int, client: str) -> Fit:
            return Fit(model.parameters, np.empty(0, np.float32), len(data), {})

        def evaluate(self, model: Model, data: Any) -> dict[str, float]:
            return {}

    def mlp() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 76), nn.ReLU(), nn.Linear(76, 10))

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 1, 28, 28)).astype(np.float32), rng.integers(10, size=50)
    clients = hr.from_function(1000, lambda number: hr.Samples(x, y))
    rounds, workers = CASES[name]
    task = Nothing() if name.startswith("nothing") else hr.Task(mlp)
    results = hr.simulate(
        task, clients, hr.fedavg(sampling=hr.uniform(COHORT)), rounds=rounds, workers=workers
    )
    before = _cpu_seconds()
    if profiled:
        with hr.profile() as found:
            list(results)
        spans = len(found.spans)
    else:
        list(results)
        spans = 0
    print(json.dumps({"cpu_seconds": round(_cpu_seconds() - before, 4), "spans": spans}))


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in used)


def page(results: dict[str, Any]) -> str:
    """The results as a page."""
    rows = []
    for name, (rounds, _) in CASES.items():
        lines = [line for line in results["lines"] if line["case"] == name]
        plain, profiled = (
            statistics.median(line["cpu_seconds"] for line in lines if line["profiled"] is on)
            for on in (False, True)
        )
        spans = max(line["spans"] for line in lines)
        clients = rounds * COHORT
        rows.append(
            f"| {name} | {plain / clients * 1e6:,.0f} | {profiled / clients * 1e6:,.0f}"
            f" | {(profiled - plain) / clients * 1e6:+,.0f} | {profiled / plain - 1:+.1%}"
            f" | {spans / clients:.1f} |"
        )
    return f"""# What profiling takes

CPU time of a client's part of a round (the server's share included), with and without `hr.profile()`, in
microseconds: {COHORT} clients a round; medians of {results["repeats"]} runs each, in turns.

| | without | with | more | | spans a client |
|---|---|---|---|---|---|
{chr(10).join(rows)}

{about.line(results)}
`python benchmarks/profile/run.py` writes this page.
"""


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--repeats", type=int, default=7)
    options.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    options.add_argument("--profiled", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.case:
        run_case(given.case, given.profiled)
        return
    where = about.about("torch", "numpy")
    lines = []
    for _ in range(given.repeats):
        for name in CASES:
            for profiled in (False, True):
                command = [sys.executable, __file__, "--case", name, *(["--profiled"] if profiled else [])]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                found = json.loads(done.stdout.splitlines()[-1])
                lines.append({"case": name, "profiled": profiled, **found})
                print(lines[-1], flush=True)
    results = {**where, "repeats": given.repeats, "lines": lines}
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "README.md").write_text(page(results))


if __name__ == "__main__":
    main()
