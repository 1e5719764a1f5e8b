"""A phone's steps beside a device's: ONNX Runtime in WebAssembly (node) and Python's, one thread each.

    python benchmarks/phones/steps.py             where torch, onnx and node are

Writes results.json and README.md beside this file, once all models are done.

Whole local epochs through both trainers, in turn, each in a process of its own: the processor's milliseconds
a step, and the median of the pairs' ratios; and how much it takes in node to inspect and load a graph, with
the first step. In node, not in a browser: its engine is Chromium's.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WEB = ROOT / "web"
sys.path[:0] = [str(ROOT)]

from benchmarks import about  # noqa: E402
from benchmarks.devices.cases import CASES, LOCAL, export, read, samples  # noqa: E402
from hedgerow.client.onnx.trainer import OnnxTrainer  # noqa: E402

_WHO: dict[str, Any] = {"seed": 0, "round": 1, "client": "a"}


def measured(folder: Path, name: str, pairs: int) -> dict[str, Any]:
    """Milliseconds a step, by both."""
    steps, (graphs, model) = CASES[name][2], read(folder, name)
    trainer, data = OnnxTrainer(graphs), samples(name, steps)
    trainer.fit(model, samples(name, 1), LOCAL, **_WHO)
    command = ["node", "build/tests/steps.js", str(folder / name), str(steps)]
    with subprocess.Popen(command, cwd=WEB, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:
        assert node.stdin is not None
        assert node.stdout is not None
        first, ours, theirs, memory = float(node.stdout.readline()), [], [], 0.0
        print(file=node.stdin, flush=True)  # once without a measurement: what is run often is compiled again
        node.stdout.readline()
        for _ in range(pairs):
            begun = time.process_time()
            trainer.fit(model, data, LOCAL, **_WHO)
            ours.append(1000 * (time.process_time() - begun) / steps)
            print(file=node.stdin, flush=True)
            taken, mib = map(float, node.stdout.readline().split())
            theirs.append(taken)
            memory = max(memory, mib)
        node.stdin.close()
    return {
        "parameters": len(model.parameters),
        "python_ms": round(statistics.median(ours), 3),
        "wasm_ms": round(statistics.median(theirs), 3),
        "ratio": round(statistics.median(b / a for a, b in zip(ours, theirs, strict=True)), 2),
        "first_ms": first,
        "rss_mib": memory,
    }


def page(found: dict[str, Any]) -> str:
    """The results as a page."""
    rows = [
        f"| `{name}` | {row['parameters']:,} | {row['python_ms']:.3g} ms | {row['wasm_ms']:.3g} ms"
        f" | {row['ratio']:.1f}x | {row['first_ms'] / 1000:.2f} s | {row['rss_mib']:.0f} MiB |"
        for name, row in found["models"].items()
    ]
    measured = f"{about.line(found['about'])} Load before the run: {found['load']}."
    return "\n".join(["# A phone's steps\n", measured, _METHOD, *rows, ""])


_METHOD = """`python benchmarks/phones/steps.py` writes this page.

Whole local epochs by ONNX Runtime in WebAssembly (node, not a browser: its engine is Chromium's) and in
Python, one thread each, in turn, each in a process of its own: the processor's milliseconds a step, and the
median of the pairs' ratios. Then how long node takes to inspect and load a graph and make the first step, and
the resident memory of its process.

| model | parameters | Python | WebAssembly | ratio | to the first step | process |
|---|---|---|---|---|---|---|"""


def main() -> None:
    """Measure, and write it down."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--pairs", type=int, default=7)
    options.add_argument("--graphs", type=Path, help="written by benchmarks/devices/run.py --export")
    given = options.parse_args()
    found: dict[str, Any] = {"about": about.about("onnxruntime", "numpy"), "models": {}}
    found["load"] = round(os.getloadavg()[0], 2)
    subprocess.run(["npm", "run", "--silent", "build"], cwd=WEB, check=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.graphs or Path(temporary)).absolute()
        if given.graphs is None:
            export(folder)
        for name in json.loads((folder / "models.json").read_text()):
            found["models"][name] = measured(folder, name, given.pairs)
            print(name, found["models"][name], flush=True)
    (HERE / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    (HERE / "README.md").write_text(page(found))


if __name__ == "__main__":
    main()
