"""Rounds on a GPU beside rounds on the processors of the same machine: time, memory, precision.

    python benchmarks/gpu/run.py [--commit HASH] [--only WORKLOAD ...] [--page]

The workloads of `benchmarks/engines`, each way in a process of its own, all in turn. Writes results.json and
ROUNDS.md beside this file; `--page` writes ROUNDS.md from the results that are there.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent), str(HERE.parent / "engines")]

import about  # noqa: E402

WORKLOADS = ("mlp", "cnn", "lenet", "resnet-gn", "gru", "transformer", "cnn-power-law")
LEAST, MOST, SECONDS = 3, 15, 1.5
"""Timed rounds of each way: as many as take so long."""
SCORED = 3
"""The round whose model is compared."""


ABOUT = f"""\
The workloads of [the engines' page](../engines/README.md): 100 clients a round, 50 samples each, batch 10,
one local epoch, plain SGD, FedAvg. Each way has a process of its own, one after another in one run; seconds
are the median of {LEAST} to {MOST} rounds after the first, with least and most. `auto` on the CPU is what
a run there takes by itself: batches, if they are faster. A ratio compares ways of this run only. Everything
is float32 without TF32, and has the same bits each time, unless a column says otherwise."""

ABOUT_FIRST = f"""\
The first round ends so many seconds after its process began, which has everything imported (IMPORTS s);
memory is the most that torch held on the GPU (its own context comes on top); loss and accuracy are those of
the model of round {SCORED} on samples of all clients."""


@dataclass(frozen=True)
class Way:
    """One way to run a workload."""

    key: str
    name: str
    device: str
    trainer: str
    precision: str = "float32"
    workers: int = 1
    only: tuple[str, ...] = WORKLOADS
    """The workloads that are run this way."""


CORES = os.cpu_count() or 1
WAYS = (
    Way("cpu", f"CPU, {CORES} processes, `auto`", "cpu", "auto", workers=CORES),
    Way("cpu-1", "CPU, 1 process, `auto`", "cpu", "auto"),
    Way("loop", "GPU, `loop`", "cuda", "loop"),
    Way("batch", "GPU, `batch`", "cuda", "batch"),
    Way(
        "bfloat16",
        "GPU, `loop`, bfloat16",
        "cuda",
        "loop",
        "bfloat16",
        only=("lenet", "resnet-gn", "transformer"),
    ),
)


def imported(names: Sequence[str]) -> float:
    """Import what all ways need, and make the data; seconds of the first."""
    began = time.perf_counter()
    import system_hedgerow  # noqa: F401

    import hedgerow as hr

    hr.TorchTrainer, hr.simulate  # noqa: B018 - imported when they are looked up
    took = time.perf_counter() - began
    import workload as w

    for name in names:
        w.Clients(w.WORKLOADS[name])
    return took


def measured(workload_name: str, way: Way) -> dict[str, Any]:
    """Run rounds in this process."""
    began = time.perf_counter()
    import system_hedgerow
    import torch
    import workload as w

    import hedgerow as hr

    workload = w.WORKLOADS[workload_name]
    strategy = hr.fedavg(
        sampling=system_hedgerow.sampling(workload),
        local=hr.LocalTraining(learning_rate=w.LEARNING_RATE, epochs=w.EPOCHS, batch_size=w.BATCH),
    )
    options: dict[str, Any] = {
        "workers": way.workers, "trainer": way.trainer, "device": way.device, "precision": way.precision,
    }  # fmt: skip
    task = hr.Task(model=partial(w.make_model, workload))
    seconds: list[float] = []
    first = mark = 0.0
    scored = None
    for result in hr.simulate(task, system_hedgerow.Data(workload), strategy, rounds=MOST + 1, **options):
        now = time.perf_counter()
        if result.failed or result.dropped:
            raise RuntimeError(f"round {result.round}: {result.failed or dict(result.dropped)}")
        if result.round == 1:
            first = now - began
        else:
            seconds.append(now - mark)
        if result.round == SCORED:
            scored = result.state.model.parameters.copy()
        if len(seconds) >= LEAST and sum(seconds) > SECONDS:
            break
        mark = time.perf_counter()
    loss, accuracy = w.score(workload, scored)
    gpu = way.device == "cuda"
    return {
        "round_seconds": [round(s, 4) for s in seconds],
        "first_round": round(first, 2),
        "gpu_mib": round(torch.cuda.max_memory_allocated() / 2**20) if gpu else 0,
        "loss": round(loss, 4),
        "accuracy": round(accuracy, 4),
    }


def apart(function: Callable[..., Any], *given: Any) -> Any:
    """What a function returns in a process of its own, forked from this one, which never touches the GPU."""
    receive, send = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=lambda: send.send(function(*given)))
    process.start()
    send.close()
    found = receive.recv()
    process.join()
    return found


def machine() -> dict[str, str]:
    """Of `about`, with the GPU."""
    import torch

    found = about.about("torch", "numpy")
    name = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30 if torch.cuda.is_available() else 0
    found["machine"] += f", one {name} ({memory:.0f} GiB)"
    found["versions"] += f", CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return found


def ratio(slow: float, fast: float) -> str:
    """How many times as fast."""
    return f"{slow / fast:.2g}x" if slow / fast < 10 else f"{slow / fast:.0f}x"


def page(results: dict[str, Any]) -> str:
    """The tables."""
    lines = [
        "# Rounds on a GPU",
        "",
        about.line(results) + " `python benchmarks/gpu/run.py` writes this page.",
        "",
        *ABOUT.splitlines(),
        "",
        "## Seconds a round",
        "",
        "| workload | " + " | ".join(results["ways"][way.key] for way in WAYS) + " |",
        "|---|" + "---|" * len(WAYS),
    ]
    medians = {
        name: {key: statistics.median(run["round_seconds"]) for key, run in runs.items()}
        for name, runs in results["workloads"].items()
    }
    for name, runs in results["workloads"].items():
        spans = [
            f"{medians[name][way.key]:.3f} ({min(several):.3f} to {max(several):.3f})" if several else ""
            for way in WAYS
            for several in [runs.get(way.key, {}).get("round_seconds")]
        ]
        lines.append(f"| {name} | " + " | ".join(spans) + " |")
    lines += [
        "",
        "| workload | GPU `batch` against all processors | against one process | against GPU `loop` |"
        " GPU `loop` against one process | bfloat16 against float32 |",
        "|---|---|---|---|---|---|",
    ]
    for name, m in medians.items():
        pairs = (
            ("cpu", "batch"), ("cpu-1", "batch"), ("loop", "batch"), ("cpu-1", "loop"), ("loop", "bfloat16")
        )  # fmt: skip
        lines.append(
            f"| {name} | " + " | ".join(ratio(m[a], m[b]) if b in m else "" for a, b in pairs) + " |"
        )
    lines += [
        "",
        "Above 1x the first is faster.",
        "",
        "## First round, memory, and what was learned",
        "",
        *ABOUT_FIRST.replace("IMPORTS", f"{results['imports']:.1f}").splitlines(),
        "",
        "| workload | way | first round, s | GPU memory, MiB | loss | accuracy |",
        "|---|---|---|---|---|---|",
    ]
    for name, runs in results["workloads"].items():
        for way in [way for way in WAYS if way.key in runs]:
            run = runs[way.key]
            lines.append(
                f"| {name} | {results['ways'][way.key]} | {run['first_round']:.1f} | {run['gpu_mib'] or ''} |"
                f" {run['loss']:.4f} | {run['accuracy']:.3f} |"
            )
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure, and write both files."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=WORKLOADS)
    parser.add_argument("--commit", help="of a copy without its repository")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE, help="the folder of both files")
    given = parser.parse_args()
    file = given.out / "results.json"
    if not given.page:
        results: dict[str, Any] = {"imports": round(imported(given.only), 2), **apart(machine)}
        results["commit"] = given.commit or results["commit"]
        results["ways"] = {way.key: way.name for way in WAYS}
        results["workloads"] = {}
        for name in given.only:
            runs = results["workloads"][name] = {}
            for way in [way for way in WAYS if name in way.only]:
                runs[way.key] = apart(measured, name, way)
                print(name, way.name, runs[way.key], flush=True)
            file.write_text(json.dumps(results, indent=1) + "\n")
    results = json.loads(file.read_text())
    (given.out / "ROUNDS.md").write_text(page(results))


if __name__ == "__main__":
    main()
