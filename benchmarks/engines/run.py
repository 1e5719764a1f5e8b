"""Simulation engines side by side on one machine: Flower on Ray, pfl, BlazeFL, fluke, a plain loop and ours.

    python benchmarks/engines/run.py                          # everything, about 15 minutes
    python benchmarks/engines/run.py --quick                  # every system for 3 rounds of the MLP
    python benchmarks/engines/run.py --only hedgerow loop-2 --models mlp cnn --repeats 5

Each system runs in an environment of its own, which is made when it is first
needed. A repeat runs all systems one after another on a workload, so that a
ratio compares runs that are a minute apart. A full run writes results.json
and README.md beside this file; any other writes them to .envs/partial.
Needs Linux, and nothing else that works on the machine.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import environments
import former
import page

HERE = Path(__file__).parent
LIMIT_SECONDS = 400  # of one run of one system

# Rounds of a run; the first is the start, the others are measured.
ROUNDS = {
    "mlp": 13, "cnn": 7, "lenet": 5, "cnn-100k": 5,
    "resnet-gn": 4, "gru": 5, "transformer": 5, "cnn-power-law": 7,
}  # fmt: skip
# Round after which the models are compared: while the loss still falls fast, and every system gets there.
SCORED = {"mlp": 1, "cnn": 3, "lenet": 3, "cnn-100k": 2, "cnn-power-law": 1}
PAPER_MODELS = ("mlp", "cnn", "lenet")
EVERYTHING = tuple(ROUNDS)
FEW_CLIENTS = tuple(name for name in ROUNDS if name != "cnn-100k")


@dataclass(frozen=True)
class System:
    """A row of the table.

    Attributes:
        name: on the command line.
        title: in the table.
        environment: of `environments.STEPS`; its script is `system_<environment>.py`.
        processes: that train.
        workloads: it runs.
        repeats: of a full run, by workload.
        rounds: of a run, where they are fewer than the others'.
    """

    name: str
    title: str
    environment: str
    processes: int
    workloads: tuple[str, ...]
    repeats: dict[str, int] = field(default_factory=dict)
    rounds: dict[str, int] = field(default_factory=dict)


ONCE = dict.fromkeys(EVERYTHING, 1)
SYSTEMS = [
    System("hedgerow", "Hedgerow", "hedgerow", 2, EVERYTHING),
    System("loop-2", "plain torch loop, 2 processes", "loop", 2, FEW_CLIENTS),
    System("pfl-2", "pfl, 2 processes", "pfl", 2, (*PAPER_MODELS, "cnn-100k"), {"cnn-100k": 1}),
    System(
        "flower", "Flower on Ray, 2 actors", "flower", 2, (*PAPER_MODELS, "cnn-100k"),
        repeats={"mlp": 2, "cnn": 2, "lenet": 1, "cnn-100k": 1},
        rounds={"mlp": 4, "cnn": 4, "lenet": 3, "cnn-100k": 2},
    ),
    System("loop-1", "plain torch loop, 1 process", "loop", 1, PAPER_MODELS, ONCE),
    System("pfl-1", "pfl, 1 process", "pfl", 1, PAPER_MODELS, ONCE, {"lenet": 4}),
    System("blazefl-1", "BlazeFL, 1 process", "blazefl", 1, PAPER_MODELS, ONCE, {"lenet": 4}),
    System(
        "blazefl-2", "BlazeFL, pool of 2 processes", "blazefl", 2, ("mlp", "cnn"), ONCE, {"mlp": 4, "cnn": 4}
    ),
    System("fluke", "fluke, 1 process", "fluke", 1, PAPER_MODELS, ONCE, {"lenet": 4}),
]  # fmt: skip
REPEATS = 3  # of a system and workload without a number of its own
FEWER = dict.fromkeys(("resnet-gn", "gru", "transformer", "cnn-power-law"), 2)


def main() -> None:
    """Measure, write and print."""
    given = _arguments()
    systems = [s for s in SYSTEMS if not given.only or s.name in given.only]
    workloads = given.models or (["mlp"] if given.quick else list(ROUNDS))
    about = _about()
    interpreters = {
        name: environments.python(name) for name in ("hedgerow", *(s.environment for s in systems))
    }
    subprocess.run([environments.python("loop"), HERE / "workload.py"], check=True)
    results: dict[str, Any] = {"about": about, "runs": []}
    partial = bool(given.only or given.models or given.repeats or given.quick)
    cut_off = environments.FOLDER / "partial"
    folder = cut_off if partial else HERE
    cut_off.mkdir(exist_ok=True)
    for repeat in range(given.repeats or (1 if given.quick else REPEATS)):
        for workload in workloads:
            for system in systems:
                if workload not in system.workloads:
                    continue
                if not given.repeats and repeat >= _repeats(system, workload):
                    continue
                run = measure(system, workload, interpreters[system.environment], quick=given.quick)
                results["runs"].append({"repeat": repeat, **run})
                print(_line(run), flush=True)
                # After each run, so that a run that is cut off leaves what it has, and the figures that were.
                (cut_off / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    if not given.only or former.COMMIT in given.only:
        results["former_about"] = _about()
        results["former"] = [
            _beside_former(name, interpreters["hedgerow"]) for name in workloads if name in former.PAIRS
        ]
    (cut_off / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    if not partial:
        results["floor"] = {**measure_floor(), "commit": results["about"]["commit"]}
        (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    text = page.page(results, {s.name: s.title for s in SYSTEMS})
    (folder / "README.md").write_text(text)
    print(text)


def measure(system: System, workload: str, interpreter: Path, *, quick: bool) -> dict[str, Any]:
    """One run of one system, or the reason why there is none."""
    rounds = system.rounds.get(workload, ROUNDS[workload])
    rounds = min(rounds, 3) if quick else rounds
    command = [
        str(interpreter), f"system_{system.environment}.py", "--workload", workload,
        "--rounds", str(rounds), "--processes", str(system.processes),
        "--scored", str(min(rounds, SCORED.get(workload, 3))),
    ]  # fmt: skip
    run: dict[str, Any] = {"system": system.name, "workload": workload}
    shown = " ".join([f"benchmarks/engines/.envs/{system.environment}/bin/python", *command[1:]])
    run["command"] = shown.replace(command[1], f"benchmarks/engines/{command[1]}")
    process = subprocess.Popen(
        command, cwd=HERE, env=_environment(), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return {**run, "error": f"not done after {LIMIT_SECONDS} s"}
    lines = [line for line in out.splitlines() if line.startswith('{"system"')]
    if process.returncode or len(lines) != 1:
        tail = (err.strip().splitlines() or ["it printed nothing"])[-1]
        return {**run, "error": f"exit status {process.returncode}: {tail[:300]}"}
    return {**json.loads(lines[0]), **run}


def _beside_former(workload: str, interpreter: Path) -> dict[str, Any]:
    found = former.measure(workload, interpreter, _environment(), _environment(former.COMMIT))
    print(f"{workload:14} beside {former.COMMIT}: {former.median(former.ratios(found)):.3f}x", flush=True)
    return found


def measure_floor() -> dict[str, Any]:
    """What a round takes at least, see `floor.py`; with its date."""
    command = [environments.python("hedgerow"), "floor.py"]
    done = subprocess.run(command, cwd=HERE, env=_environment(), capture_output=True, text=True, check=True)
    return {**json.loads(done.stdout), "date": _about()["date"]}


def _environment(commit: str = "") -> dict[str, str]:
    """One thread a process, and nobody is told; with the Hedgerow of a commit, where one is given."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    off = dict.fromkeys(("FLWR_TELEMETRY_ENABLED", "RAY_USAGE_STATS_ENABLED"), "0")
    off |= {"FLWR_DISABLE_UPDATE_CHECK": "1", "FLWR_HOME": str(environments.FOLDER / "flower-home")}
    path = {"PYTHONPATH": str(environments.tree(commit))} if commit else {}
    return {**os.environ, **threads, **off, **path}


def _repeats(system: System, workload: str) -> int:
    return system.repeats.get(workload, FEWER.get(workload, REPEATS))


def _line(run: dict[str, Any]) -> str:
    if "error" in run:
        return f"{run['workload']:14} {run['system']:10} failed: {run['error']}"
    first = run["first_round_after_start_seconds"]
    return (
        f"{run['workload']:14} {run['system']:10} {page.round_seconds(run):7.3f} s a round"
        f"  {run['cpu_seconds_per_round']:7.3f} CPU s  first after {first:6.2f} s"
        f"  {run['peak_pss_mib']:5} MiB  after round {run['scored_round']}: loss {run['loss']:.4f},"
        f" moved {run['moved']:.4f}"
    )


def _about() -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True, check=False
    )
    cpu = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit.stdout.strip() or "not committed",
        "machine": f"{cpu[0] if cpu else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB",
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


def _arguments() -> argparse.Namespace:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument(
        "--only", nargs="+", choices=[*(s.name for s in SYSTEMS), former.COMMIT], help="these systems"
    )
    parser.add_argument("--models", nargs="+", choices=list(ROUNDS), help="these workloads")
    parser.add_argument("--repeats", type=int, help="of everything")
    parser.add_argument(
        "--quick", action="store_true", help="3 rounds, once; the MLP unless --models is given"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
