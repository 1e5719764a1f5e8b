"""A device without torch: the time of a step, the memory and start of its process, the size of its install.

    python benchmarks/devices/run.py                     where torch and onnx are installed
    python benchmarks/devices/run.py --export FOLDER     write the graphs there, and no more
    python benchmarks/devices/run.py --graphs FOLDER     on a device, with graphs from there

Every process measures alone, and this one imports nothing that those share with it. Steps are
compared where torch is installed. Linux only. Writes results.json and README.md beside this file.
"""

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT)]

from benchmarks import about  # noqa: E402

STARTS, SECONDS = 5, 3.0


def child(*command: str) -> "subprocess.Popen[str]":
    """One process that measures, with one thread."""
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, **one}
    )


def steps(folder: Path) -> dict[str, Any]:
    """Each model's steps."""
    found = {}
    for name in json.loads((folder / "models.json").read_text()):
        process = child(str(HERE / "steps.py"), str(folder), name)
        printed, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"{name} ended with status {process.returncode}")
        found[name] = json.loads(printed)
        print(name, found[name], flush=True)
    return found


def memory(pid: int, kind: str) -> float:
    """MiB of a process; 0 when it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    found = re.search(rf"^{kind}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def node(folder: Path) -> dict[str, Any]:
    """The medians of several starts; of each, the most memory."""
    found: list[dict[str, Any]] = []
    for _ in range(STARTS):
        with child(str(HERE / "node.py"), str(folder), str(SECONDS)) as process:
            most = {"Pss": 0.0, "Rss": 0.0}
            while process.poll() is None:
                most = {kind: max(value, memory(process.pid, kind)) for kind, value in most.items()}
                time.sleep(0.02)
            assert process.stdout is not None
            told = json.loads(process.stdout.read())
        assert told.pop("loaded") == []
        found.append({**told, "pss_mib": most["Pss"], "rss_mib": most["Rss"]})
        print(found[-1], flush=True)
    return {key: round(statistics.median(each[key] for each in found), 2) for key in found[0]}


def install() -> dict[str, float]:
    """Megabytes on disk of `hedgerow[onnx]`, by distribution."""
    from packaging.requirements import Requirement

    sizes: dict[str, float] = {}
    # What is installed here may be older than the extra: what that brings is named too.
    waiting = [("hedgerow", "onnx"), ("hedgerow", ""), ("onnxruntime", "")]
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop()
        try:
            there = distribution(name)
        except PackageNotFoundError:
            continue
        files = [Path(str(there.locate_file(file))) for file in there.files or []]
        if name == "hedgerow":  # it may be installed as a link to this folder
            files = [*files, *(ROOT / "hedgerow").rglob("*")]
        sizes[name] = sum({f.resolve(): f.stat().st_size for f in files if f.is_file()}.values()) / 1e6
        for text in there.requires or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                more = [(needed.name, each) for each in ("", *needed.extras)]
                waiting += [each for each in more if each not in seen]
                seen |= set(more)
    return {name: round(size, 2) for name, size in sorted(sizes.items(), key=lambda each: -each[1])}


def page(results: dict[str, Any]) -> str:
    """The results as a page."""
    lines = []
    for name, row in results["steps"].items():
        ms, ratio = row["ms_per_step"], row.get("ratio")
        torch = f"{ms['torch']:.3g} | {ratio:.2f}x" if ratio else "- | -"
        lines.append(
            f"| `{name}` | {row['parameters']:,} | {row['train_bytes'] / 1000:.0f} kB | {ms['onnx']:.3g} |"
            f" {torch} |"
        )
    ratios = [row["ratio"] for row in results["steps"].values() if "ratio" in row]
    compared = (
        f"Geometric mean {results['mean']:.2f}x (at most 1.3x is wanted), the worst {max(ratios):.2f}x (2x)."
        if ratios
        else "There is no torch here to compare with."
    )
    sizes, node = results["install_mb"], results["node"]
    parts = ", ".join(f"{name} {size:.1f}" for name, size in list(sizes.items())[:5])
    return f"""# A device without torch

Steps of SGD with momentum on batches of 32, whole local epochs through `OnnxTrainer` and `TorchTrainer`, one
thread each, in turn in one process: CPU milliseconds a step, and the median of the pairs' ratios.

| model | parameters | graph | ONNX Runtime | torch | ratio |
|---|---|---|---|---|---|
{chr(10).join(lines)}

{compared}

A node's process (all that `python -m hedgerow.node` loads) while it trains and evaluates `cnn-small`, the
median of {STARTS}; memory is each process's most, libraries that are mapped included:

| | | wanted |
|---|---|---|
| PSS, as other processes here share the libraries | {node["pss_mib"] * 2**20 / 1e6:.1f} MB | 75 MB |
| RSS, as if none did | {node["rss_mib"] * 2**20 / 1e6:.1f} MB | |
| from its start to the end of the first step | {node["seconds_to_first_step"]:.2f} s | 2 s |
| of these, on the processor | {node["cpu_seconds_to_first_step"]:.2f} s | |
| `pip install "hedgerow[onnx]"` on disk, with all that it needs | {sum(sizes.values()):.0f} MB | 160 MB |

Of these: {parts}.

{about.line(results)} Load before and after: {results["load"]}.
`python benchmarks/devices/run.py` writes this page.
"""


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--export", type=Path, metavar="FOLDER")
    options.add_argument("--graphs", type=Path, metavar="FOLDER")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.graphs or given.export or Path(temporary)).absolute()
        if given.graphs is None:
            code = "import sys; from pathlib import Path; from benchmarks.devices.cases import export;"
            if child("-c", f"{code} export(Path(sys.argv[1]))", str(folder)).wait():
                raise SystemExit("the models cannot be exported")
        if given.export is not None:
            return
        before = os.getloadavg()[0]
        known = [name for name in ("onnxruntime", "numpy", "torch") if _installed(name)]
        results = {
            **about.about(*known), "steps": steps(folder), "node": node(folder), "install_mb": install()
        }  # fmt: skip
    results["load"] = f"{before:.1f}, {os.getloadavg()[0]:.1f}"
    ratios = [row["ratio"] for row in results["steps"].values() if "ratio" in row]
    if ratios:
        results["mean"] = round(math.exp(statistics.mean(map(math.log, ratios))), 3)
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "README.md").write_text(page(results))


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    main()
