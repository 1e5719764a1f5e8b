"""A device without torch: the time of a step, the memory and start of its process, the size of its install.

    python benchmarks/devices/run.py                     where torch and onnx are installed
    python benchmarks/devices/run.py --export FOLDER     write the graphs there, and no more
    python benchmarks/devices/run.py --graphs FOLDER     on a device, with graphs from there

Every process measures alone, and this one imports nothing that those share with it. The process and the
install are those of docs/raspberry-pi.md, whose first step is carried out in a folder of its own; on a
device, of the environment that the script runs in. Steps are compared where torch is installed. Linux only.
Writes results.json and README.md beside this file.
"""

import argparse
import json
import math
import os
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
from benchmarks.devices.floor import memory  # noqa: E402

STARTS, SECONDS, AT_ONCE = 5, 3.0, 3
KINDS = ("Pss", "Rss", "Private_Dirty", "Referenced")
PAGE = ROOT / "docs" / "raspberry-pi.md"
PLACE = "/opt/hedgerow"


def child(*command: str, python: str = sys.executable) -> "subprocess.Popen[str]":
    """One process that measures, with one thread."""
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        [python, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, **one}
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


def node(folder: Path, environment: Path, together: int = 1) -> dict[str, Any]:
    """The medians of several starts of so many processes at once; of each, the most memory once all train.

    What is referenced counts from then on.
    """
    found: list[dict[str, Any]] = []
    command = str(HERE / "node.py"), str(folder), str(SECONDS * together)
    for _ in range(STARTS):
        running = [child(*command, python=str(environment / "bin" / "python")) for _ in range(together)]
        most = [dict.fromkeys(KINDS, 0.0) for _ in running]
        told = [json.loads(process.stdout.readline()) for process in running if process.stdout]
        for process in running:
            assert process.stdout
            assert process.stdout.readline() == "\n"
            Path(f"/proc/{process.pid}/clear_refs").write_text("1")
        while all(process.poll() is None for process in running):
            for process, kinds in zip(running, most, strict=True):
                kinds.update({kind: max(kinds[kind], memory(process.pid, kind)) for kind in KINDS})
            time.sleep(0.02)
        for process, first, kinds in zip(running, told, most, strict=True):
            process.communicate()
            assert first.pop("loaded") == []
            found.append({**first, **{f"{kind.lower()}_mib": value for kind, value in kinds.items()}})
        print(found[-1], flush=True)
    return {key: round(statistics.median(each[key] for each in found), 2) for key in found[0]}


def floor(folder: Path, environment: Path) -> dict[str, dict[str, float]]:
    """The medians of several starts of a process that has a device's libraries and not Hedgerow, by stage."""
    found = []
    for _ in range(STARTS):
        process = child(str(HERE / "floor.py"), str(folder), python=str(environment / "bin" / "python"))
        found.append(json.loads(process.communicate()[0]))
    return {
        stage: {kind: round(statistics.median(each[stage][kind] for each in found), 2) for kind in kinds}
        for stage, kinds in found[0].items()
    }


def made(folder: Path) -> Path:
    """An environment by the first step of the page, with Hedgerow's wheel of the sources as they are."""
    _run(f"{sys.executable} -m pip wheel --quiet --no-deps --wheel-dir {folder} {ROOT}")
    (wheel,) = folder.glob("*.whl")
    environment, step = folder / "environment", PAGE.read_text().partition("```console\n")[2]
    for line in step.partition("```")[0].splitlines():
        if PLACE in line:
            command = line.removeprefix("$ ").removeprefix("sudo ").replace(PLACE, str(environment))
            command = command.replace("hedgerow[onnx]", f"hedgerow[onnx] @ {wheel.as_uri()}")
            _run(command.replace("python3 -m venv", f"{sys.executable} -m venv"))
    return environment


def _run(command: str) -> None:
    print(command, flush=True)
    # Without compiled files every start would compile all that it loads.
    without = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")
    env = {name: value for name, value in os.environ.items() if name not in without}
    subprocess.run(["sh", "-ec", command], cwd="/", check=True, env=env)


def install(environment: Path) -> dict[str, float]:
    """Megabytes on disk of all that is in an environment, by package."""
    sizes: dict[str, float] = {}
    (packages,) = environment.glob("lib/python3*/site-packages")
    for file in environment.rglob("*"):
        if file.is_file() and not file.is_symlink():
            inside = file.is_relative_to(packages)
            name = file.relative_to(packages).parts[0].split(".")[0].split("-")[0] if inside else "programs"
            sizes[name] = sizes.get(name, 0.0) + file.stat().st_size / 1e6
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

A node's process (all that `python -m hedgerow.node` loads) while it trains and evaluates `cnn-small`, from
the install of [the page for Raspberry Pis](../../docs/raspberry-pi.md), the median of {STARTS}; memory is
each process's most, and no other process has these libraries:

| | | wanted |
|---|---|---|
| PSS, libraries that are mapped included | {_mb(node["pss_mib"])} | 75 MB |
| of these, what is not in a file, so that the kernel cannot drop it | {_mb(node["private_dirty_mib"])} | |
| RSS: the same where no other process runs Python | {_mb(node["rss_mib"])} | |
| of these, what it touches again while it trains | {_mb(node["referenced_mib"])} | |
| PSS of each of {AT_ONCE} such processes on one machine | {_mb(results["nodes_at_once"]["pss_mib"])} | |
| from its start to the end of the first step | {node["seconds_to_first_step"]:.2f} s | 2 s |
| of these, on the processor | {node["cpu_seconds_to_first_step"]:.2f} s | |
| the install on disk, with its environment and pip | {sum(sizes.values()):.0f} MB | 160 MB |

Of these: {parts}.

What the libraries take without Hedgerow: a process that loads them one by one, then both graphs of
`cnn-small`, and trains and evaluates. Its end is the least that any Python process can have which does this
with these libraries.

| after | PSS | not in a file | on the processor |
|---|---|---|---|
{chr(10).join(_stages(results["floor"]))}
| the node, which has all this and Hedgerow | {_mb(node["pss_mib"])} | {_mb(node["private_dirty_mib"])} | |

{about.line(results)} Load before and after: {results["load"]}.
`python benchmarks/devices/run.py` writes this page.
"""


def _stages(floor: dict[str, dict[str, float]]) -> list[str]:
    return [
        f"| {stage} | {_mb(at['pss_mib'])} | {_mb(at['private_dirty_mib'])} | {at['cpu_seconds']:.2f} s |"
        for stage, at in floor.items()
    ]


def _mb(mib: float) -> str:
    return f"{mib * 2**20 / 1e6:.1f} MB"


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--export", type=Path, metavar="FOLDER")
    options.add_argument("--graphs", type=Path, metavar="FOLDER")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.graphs or given.export or Path(temporary) / "graphs").absolute()
        if given.graphs is None:
            code = "import sys; from pathlib import Path; from benchmarks.devices.cases import export;"
            if child("-c", f"{code} export(Path(sys.argv[1]))", str(folder)).wait():
                raise SystemExit("the models cannot be exported")
        if given.export is not None:
            return
        before = os.getloadavg()[0]
        known = [name for name in ("onnxruntime", "numpy", "torch") if _installed(name)]
        environment = made(Path(temporary)) if _installed("torch") else Path(sys.prefix)
        sizes = install(environment)
        results = {
            **about.about(*known), "steps": steps(folder), "node": node(folder, environment),
            "floor": floor(folder, environment), "nodes_at_once": node(folder, environment, AT_ONCE),
            "install_mb": sizes,
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
