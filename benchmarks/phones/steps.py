"""Steps of local training in WebAssembly, in a browser and in node, beside those of a device in Python.

    python benchmarks/phones/steps.py             where torch, onnx, node and Chromium are

Writes results.json and README.md beside this file, once all models are done.

Whole local epochs through the trainers, in turn, each in a process of its own: the processor's milliseconds
a step, and the median of the rounds' ratios; how long a page takes from nothing to the end of its first step;
and the most memory of the page's process.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WEB = ROOT / "web"
sys.path[:0] = [str(ROOT)]

from benchmarks import about  # noqa: E402
from benchmarks.devices.cases import CASES, LOCAL, export, read, samples  # noqa: E402
from benchmarks.phones import chromium  # noqa: E402
from hedgerow.client.onnx.trainer import OnnxTrainer  # noqa: E402

_WHO: dict[str, Any] = {"seed": 0, "round": 1, "client": "a"}

Epoch = Callable[[], float]
"""Trains for an epoch; the processor's milliseconds a step."""


def in_python(folder: Path, name: str) -> Epoch:
    """ONNX Runtime in this process."""
    steps, (graphs, model) = CASES[name][2], read(folder, name)
    trainer, data = OnnxTrainer(graphs), samples(name, steps)
    trainer.fit(model, samples(name, 1), LOCAL, **_WHO)

    def epoch() -> float:
        begun = time.process_time()
        trainer.fit(model, data, LOCAL, **_WHO)
        return 1000 * (time.process_time() - begun) / steps

    return epoch


@contextmanager
def in_node(folder: Path, name: str) -> Iterator[Epoch]:
    """WebAssembly in a process of node."""
    command = ["node", "build/tests/timed/node.js", str(folder / name), str(CASES[name][2])]
    with subprocess.Popen(command, cwd=WEB, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:
        assert node.stdin is not None
        assert node.stdout is not None
        node.stdout.readline()

        def epoch() -> float:
            print(file=node.stdin, flush=True)
            return float(node.stdout.readline().split()[0])

        yield epoch
        node.stdin.close()


def in_a_tab(tab: chromium.Tab, name: str) -> tuple[float, Epoch]:
    """WebAssembly in a page of Chromium; also the milliseconds from nothing to the end of its first step."""
    steps, begun = CASES[name][2], time.monotonic()
    tab.asked("load", name)
    tab.asked("begin")
    first = 1000 * (time.monotonic() - begun)
    tab.asked("prepare", str(steps))

    def epoch() -> float:
        before = tab.spent
        tab.asked("epoch")
        return (tab.spent - before) / steps

    return first, epoch


def measured(folder: Path, name: str, pairs: int) -> dict[str, Any]:
    """Milliseconds a step, by all three."""
    with ExitStack() as until:
        tab = until.enter_context(chromium.page(folder))
        first, in_tab = in_a_tab(tab, name)
        ways = {
            "python": in_python(folder, name),
            "node": until.enter_context(in_node(folder, name)),
            "tab": in_tab,
        }
        for epoch in ways.values():
            epoch()  # without a measurement: what is run often is compiled again
        found = [{way: epoch() for way, epoch in ways.items()} for _ in range(pairs)]
        memory = tab.most_mebibytes
    _, model = read(folder, name)
    return {
        "parameters": len(model.parameters),
        **{f"{way}_ms": round(statistics.median(each[way] for each in found), 3) for way in ways},
        **{
            f"{way}_ratio": round(statistics.median(each[way] / each["python"] for each in found), 2)
            for way in ("node", "tab")
        },
        "first_ms": round(first),
        "tab_mib": round(memory),
    }


def page(found: dict[str, Any]) -> str:
    """The results as a page."""
    rows = [
        f"| `{name}` | {row['parameters']:,} | {row['python_ms']:.3g} ms | {row['node_ms']:.3g} ms"
        f" | {row['tab_ms']:.3g} ms | {row['tab_ratio']:.1f}x | {row['first_ms'] / 1000:.2f} s"
        f" | {row['tab_mib']} MiB |"
        for name, row in found["models"].items()
    ]
    measured = f"{about.line(found['about'])} {found['browser']}. Load before the run: {found['load']}."
    return "\n".join(["# A phone's steps\n", measured, _METHOD, *rows, ""])


_METHOD = """`python benchmarks/phones/steps.py` writes this page.

Whole local epochs by ONNX Runtime in Python, and in WebAssembly in node and in a page's worker in Chromium,
one thread each, in turn, each in a process of its own: the processor's milliseconds a step, and the median of
the rounds' ratios of Chromium to Python. Then how long a page takes to the end of its first step, with all
that it loads for it (runtime and graphs, from this machine); and the most memory that its process has held,
the browser's own part in it too.

| model | parameters | Python | node | Chromium | ratio | to the first step | tab |
|---|---|---|---|---|---|---|---|"""


def version_of_the_browser() -> str:
    program = shutil.which("chromium") or "chromium"
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Measure, and write it down."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--pairs", type=int, default=7, help="rounds of an epoch each")
    options.add_argument("--graphs", type=Path, help="written by benchmarks/devices/run.py --export")
    options.add_argument("--only", nargs="*", choices=list(CASES), help="models; nothing is written then")
    given = options.parse_args()
    found: dict[str, Any] = {"about": about.about("onnxruntime", "numpy"), "models": {}}
    found |= {"load": round(os.getloadavg()[0], 2), "browser": version_of_the_browser()}
    subprocess.run(["npm", "run", "--silent", "build"], cwd=WEB, check=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        chromium.build(folder)
        if given.graphs is None:
            export(folder)
        else:
            shutil.copytree(given.graphs, folder, dirs_exist_ok=True)
        for name in given.only or json.loads((folder / "models.json").read_text()):
            found["models"][name] = measured(folder, name, given.pairs)
            print(name, found["models"][name], flush=True)
    if not given.only:
        (HERE / "results.json").write_text(json.dumps(found, indent=1) + "\n")
        (HERE / "README.md").write_text(page(found))


if __name__ == "__main__":
    main()
