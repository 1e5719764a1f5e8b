"""Local training of a round's 100 clients on one device, without messages and server.

    python benchmarks/gpu/training.py [--device cuda]

The workloads of `benchmarks/engines`: one client after another, and side by side. The faster of two times,
after one that does not count. Prints one line of JSON for each workload.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "engines")]

import torch  # noqa: E402
import workload as w  # noqa: E402

import hedgerow as hr  # noqa: E402
from hedgerow.client.cohort import Choice, CohortTrainer  # noqa: E402

WORKLOADS = ("mlp", "cnn", "lenet", "resnet-gn", "gru", "transformer")
LOCAL = hr.LocalTraining(learning_rate=w.LEARNING_RATE, epochs=w.EPOCHS, batch_size=w.BATCH)


def seconds(work: Callable[[], Any], device: str) -> float:
    """The faster of two runs, after one."""
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return min(taken[1:])


def measured(name: str, device: str) -> dict[str, float]:
    """Seconds for the clients of the first round, by the clients at once; "1" is the loop."""
    workload = w.WORKLOADS[name]
    held = w.Clients(workload)
    clients = [(f"client {i}", hr.Samples(*held.arrays(i))) for i in held.cohort(1)]
    task = hr.Task(model=partial(w.make_model, workload))
    loop = hr.TorchTrainer(task, device=device)
    start = loop.initial(0)

    def one_by_one() -> None:
        for client, data in clients:
            loop.fit(start, data, LOCAL, seed=1, round=1, client=client)

    def together(trainer: CohortTrainer) -> None:
        fits = dict(trainer.fit_many(start, clients, LOCAL, seed=1, round=1))
        if failed := [fit.error for fit in fits.values() if isinstance(fit, hr.types.FailedFit)]:
            raise failed[0]

    found = {"1": seconds(one_by_one, device)}
    for width in (100, 256):
        trainer = CohortTrainer(task, choice=Choice("batch", "", width, 2, device=device))
        found[str(width)] = seconds(partial(together, trainer), device)
    return {width: round(value, 4) for width, value in found.items()}


def main() -> None:
    """Measure all workloads."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    given = parser.parse_args()
    for name in WORKLOADS:
        print(json.dumps({name: measured(name, given.device)}), flush=True)


if __name__ == "__main__":
    main()
