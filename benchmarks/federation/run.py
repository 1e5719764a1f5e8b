"""How quick the rounds of a real federation are, and what a device takes: a coordinator and nodes, here.

    python benchmarks/federation/run.py [--nodes 10] [--rounds 12]

`hedgerow rehearse` plays it: TLS, keys, a process for each device. In the rounds of `trivial` and
`masked` devices train a linear model on 60 rows, with a trainer in numpy and without torch; in
`torch` two devices train the small CNN. What processes have used is read from /proc. The load of the machine
by others is noted: CPU seconds tell more than the clock where there is any.
Writes results.json and README.md beside this file.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

import about  # noqa: E402

from tests.engines.federation.devices import RECIPE, write_clinics, write_plugin  # noqa: E402

HEDGEROW = str(Path(sys.executable).parent / "hedgerow")
TICKS = os.sysconf("SC_CLK_TCK")
KINDS = {
    "hedgerow.node": "nodes", "coordinator.serve": "gateway", "flower-superlink": "SuperLink",
    "serverapp": "ServerApp",
}  # fmt: skip
PICTURES = """
name = "pictures"
rounds = 12
[data]
name = "own"
shape = [1, 28, 28]
classes = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
[model]
name = "cnn-small"
[strategy]
clients_per_round = 2
[local]
learning_rate = 0.1
batch_size = 32
"""


def main() -> None:
    """Run the cases one after another."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=12)
    given = parser.parse_args()
    results: dict[str, Any] = {
        **about.about("flwr", "numpy", "torch"), "nodes": given.nodes, "rounds": given.rounds,
        "load": [round(os.getloadavg()[0], 1)], "cases": {},
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="hedgerow-pace-") as folder:
        home = Path(folder)
        plugin = write_plugin(home / "plugin")
        names = [f"device-{number}" for number in range(given.nodes)]
        tables = write_clinics(home, names)
        (home / "tables.toml").write_text(RECIPE.replace("round = 3", f"round = {given.nodes}"))
        (home / "pictures.toml").write_text(PICTURES)
        few = ["tables.toml", f"rounds={given.rounds}"]
        for case, arguments, files in (
            ("trivial", few, tables),
            ("masked", [*few, "--masks"], tables),
            ("torch", ["pictures.toml", "rounds=4"], _pictures(home)),
        ):
            results["cases"][case] = _case(home, case, arguments, files, plugin)
            results["load"].append(round(os.getloadavg()[0], 1))
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "README.md").write_text(_page(results))


def _case(
    home: Path, case: str, arguments: Sequence[str], files: Sequence[Path], plugin: Path
) -> dict[str, Any]:
    """One rehearsal: seconds of its rounds, and CPU seconds and memory of its processes."""
    scratch, run = home / f"{case}-tmp", home / case
    scratch.mkdir()
    command = [HEDGEROW, "rehearse", *arguments, "--out", str(run), "--data", *map(str, files)]
    process = subprocess.Popen(
        command, cwd=home, env={**os.environ, "PYTHONPATH": str(plugin), "TMPDIR": str(scratch)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    before, after = dict[tuple[int, str], float](), dict[tuple[int, str], float]()
    idle, peak, first, last = 0.0, 0.0, 0, 0
    while process.poll() is None:
        done = _rounds(run)
        found = _processes(scratch)
        nodes = [_megabytes(pid) for pid, kind in found if kind == "nodes"]
        if not done:
            idle = max([idle, *nodes])
        else:
            peak = max([peak, *nodes])
        if done and not before:
            before, first = _cpu(found), len(done)
        if done and len(nodes) == len(files):
            after |= _cpu(found)  # of those too that have ended since
            last = len(done)
        time.sleep(0.2)
    assert process.returncode == 0, process.communicate()[1]
    seconds = [line["seconds"] for line in _rounds(run)[1:]]
    each = max(1, last - first)
    used = defaultdict[str, float](float)
    for (pid, kind), total in sorted(after.items(), key=lambda found: found[0][1]):
        used[kind] += total - before.get((pid, kind), 0.0)
    cpu = {kind: round(total / each, 2) for kind, total in used.items()}
    return {
        "median_s": round(statistics.median(seconds), 3), "quickest_s": round(min(seconds), 3),
        "cpu_s_a_round": cpu, "node_before_first_training_mb": round(idle), "node_most_mb": round(peak),
    }  # fmt: skip


def _rounds(run: Path) -> list[dict[str, Any]]:
    with suppress(OSError, ValueError):
        return [line for text in (run / "metrics.jsonl").open() if (line := json.loads(text))["round"]]
    return []


def _processes(scratch: Path) -> list[tuple[int, str]]:
    """Those of the rehearsal, each with its kind."""
    return list(_found(scratch))


def _found(scratch: Path) -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"TMPDIR={scratch}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                yield int(entry.name), next((kind for part, kind in KINDS.items() if part in line), "others")


def _cpu(found: Sequence[tuple[int, str]]) -> dict[tuple[int, str], float]:
    """Seconds so far, of each process."""
    used = {}
    for pid, kind in found:
        with suppress(OSError):
            parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            used[pid, kind] = (int(parts[11]) + int(parts[12])) / TICKS
    return used


def _megabytes(pid: int) -> float:
    """Proportional set size: a page that several processes share counts in parts."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1000
    return 0.0


def _pictures(home: Path) -> list[Path]:
    files = []
    for number in range(2):
        random = np.random.default_rng(number)
        files.append(home / f"camera-{number}.npz")
        x = random.normal(size=(2000, 1, 28, 28)).astype(np.float32)
        np.savez(files[-1], x=x, y=random.integers(10, size=2000))
    return files


def _page(results: dict[str, Any]) -> str:
    cases = results["cases"]
    rows = "\n".join(
        f"| {case} | {found['median_s']:.2f} s | {found['quickest_s']:.2f} s | "
        + ", ".join(f"{kind} {seconds:.2f}" for kind, seconds in found["cpu_s_a_round"].items())
        + f" | {found['node_before_first_training_mb']} MB | {found['node_most_mb']} MB |"
        for case, found in cases.items()
    )
    load = ", ".join(str(each) for each in results["load"])
    return f"""# The pace of a federation

A coordinator and {results["nodes"]} devices on one machine, as `hedgerow rehearse` plays them: TLS, node
authentication, a process for each. {results["rounds"]} rounds, of which the first is left out. `trivial` and
`masked`: a linear model on 60 rows, trained by a plug-in in numpy, no torch; `torch`: two devices train the
small CNN (60,038 parameters) on 2,000 pictures each, in 4 rounds.

| case | a round, median | quickest | CPU seconds a round | a node (PSS) before its first training | at most |
|---|---|---|---|---|---|
{rows}

Load of the machine (1 minute, before and after each case): {load}. A load of 2 is what its two cores can do:
with more, the clock tells of others, and it is the CPU seconds that compare.

{about.line(results)}
`python benchmarks/federation/run.py` writes this page.
"""


if __name__ == "__main__":
    main()
