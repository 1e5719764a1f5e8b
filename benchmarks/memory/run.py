"""Memory of a run on one machine: against the size of the cohort, and over many rounds.

    python benchmarks/memory/run.py [--only NAME ...]

The model is LeNet (5x5x32, 5x5x64, 512: 582,026 parameters); clients have 20
samples each, batch 10, one epoch. What is counted is what the whole tree of
processes has allocated: a page that several of them share counts once.
Every case runs in processes of its own. Writes results.json and README.md beside this file.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "engines")]

import about  # noqa: E402
import measure  # noqa: E402

CLIENTS, SAMPLES = 2000, 20
LAST, PARTS, EVERY = 200, 4, 5
"""Of the long runs: the rounds, in how many parts they are compared, and how often memory is read."""


@dataclass(frozen=True)
class Case:
    """One run."""

    name: str
    workers: int
    trainer: str
    cohort: int
    rounds: int
    feedback: bool = False

    @property
    def kind(self) -> str:
        """How clients are trained, in words."""
        return f"{self.workers} worker{'s' * (self.workers > 1)}, {self.trainer}"


WAYS = [(workers, trainer) for workers in (1, 2) for trainer in ("loop", "batch")]
CASES = {
    case.name: case
    for case in (
        # As many clients in all, so that the watcher sees as much of each.
        *(Case(f"cohort-{w}-{t}-{n}", w, t, n, 2000 // n) for w, t in WAYS for n in (10, 100, 1000)),
        *(Case(f"rounds-{w}-{t}", w, t, 10, LAST) for w, t in WAYS),
        Case("feedback-1-loop", 1, "loop", 10, LAST, feedback=True),
        Case("feedback-2-loop", 2, "loop", 10, LAST, feedback=True),
    )
}


def run_case(case: Case) -> None:
    """Run the rounds, in this process, and print the memory between them."""
    import numpy as np
    import torch
    from torch import nn

    import hedgerow as hr

    def lenet() -> nn.Module:
        return nn.Sequential(
            *(nn.Conv2d(1, 32, 5), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(32, 64, 5), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 10)),
        )

    def samples(number: int) -> hr.Samples:
        rng = np.random.default_rng(number)
        x = rng.normal(size=(SAMPLES, 1, 28, 28)).astype(np.float32)
        return hr.Samples(x, rng.integers(10, size=SAMPLES))

    torch.set_num_threads(1)
    # With error feedback a client keeps residuals of the model's size: few clients, so that all have one.
    clients = hr.from_function(20 if case.feedback else CLIENTS, samples)
    pipeline = hr.error_feedback(hr.top_k(0.01), hr.quantize(8)) if case.feedback else hr.float32()
    strategy = hr.fedavg(
        sampling=hr.uniform(case.cohort),
        local=hr.LocalTraining(learning_rate=0.05, epochs=1, batch_size=10),
        pipeline=pipeline,
    )
    after: dict[int, float] = {}
    for result in hr.simulate(
        hr.Task(lenet), clients, strategy,
        rounds=case.rounds, workers=case.workers, trainer=case.trainer,
    ):  # fmt: skip
        if result.dropped or result.failed:
            raise RuntimeError(f"round {result.round}: {result.failed or dict(result.dropped)}")
        if result.round % EVERY == 0 or result.round == case.rounds:
            after[result.round] = round(measure.allocated_by_tree(os.getpid()), 1)
    print(json.dumps({**asdict(case), "mib_after_round": after}))


def page(results: dict[str, Any]) -> str:
    """The results as a page."""
    lines = {line["name"]: line for line in results["lines"]}
    cohorts, rounds = [], []
    for workers, trainer in WAYS:
        peaks = [lines[f"cohort-{workers}-{trainer}-{n}"]["peak_mib"] for n in (10, 100, 1000)]
        kind = CASES[f"cohort-{workers}-{trainer}-10"].kind
        cohorts.append(
            f"| {kind} | {peaks[0]:,.0f} | {peaks[1]:,.0f} | {peaks[2]:,.0f} | {peaks[2] / peaks[0]:.2f}x |"
        )
    for name in [name for name in CASES if not name.startswith("cohort")]:
        line = lines[name]
        after = {int(k): v for k, v in line["mib_after_round"].items()}
        size = LAST // PARTS
        parts = [
            statistics.median(v for k, v in after.items() if part * size < k <= (part + 1) * size)
            for part in range(PARTS)
        ]
        what = CASES[name].kind + (", 20 clients with error feedback" if CASES[name].feedback else "")
        rounds.append(f"| {what} | {' | '.join(f'{part:,.0f}' for part in parts)} |")
    return f"""# Memory

What all processes of a run have allocated, in MiB (proportional set size: a page that several of them
share counts once; libraries and other mapped files are left out), with LeNet (582,026 parameters: 2.2 MiB)
and clients of {SAMPLES} samples. Replies that were kept would take 2.2 MiB each: 2.2 GiB for a round of
1,000, and 4.3 GiB for 200 rounds of 10.

## Against the cohort: the peak of rounds with 2,000 clients in all

| | 10 clients a round | 100 | 1,000 | 1,000 against 10 |
|---|---|---|---|---|
{chr(10).join(cohorts)}

## Over the rounds: median of readings between rounds, 10 clients a round

| | rounds 1 to 50 | 51 to 100 | 101 to 150 | 151 to 200 |
|---|---|---|---|---|
{chr(10).join(rounds)}

{about.line(results)}
`python benchmarks/memory/run.py` writes this page.
"""


def measured(name: str) -> dict[str, Any]:
    """One case in a process of its own, whose memory is read ten times a second."""
    command, peak = [sys.executable, __file__, "--case", name], 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            peak = max(peak, measure.allocated_by_tree(process.pid))
            time.sleep(0.1)
        assert process.stdout is not None
        printed = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{name} ended with status {process.returncode}")
    line: dict[str, Any] = {**json.loads(printed.splitlines()[-1]), "peak_mib": round(peak, 1)}
    print(line, flush=True)
    return line


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--only", nargs="+", choices=CASES, help="print these; write nothing")
    options.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.case:
        run_case(CASES[given.case])
        return
    where = about.about("torch", "numpy")
    lines = [measured(name) for name in given.only or CASES]
    if given.only:
        return
    results = {**where, "lines": lines}
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "README.md").write_text(page(results))


if __name__ == "__main__":
    main()
