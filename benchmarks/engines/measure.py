"""The clock that every system carries: seconds of each round, CPU seconds and memory of its processes.

Run as a program it is the watcher: it looks at the memory of another process
and its children until its input ends. Standard library only, Linux only.
"""

import argparse
import ctypes
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20
_PR_SET_CHILD_SUBREAPER = 36


def arguments() -> argparse.Namespace:
    """The command line of a system's script."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workload", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--scored", type=int, default=1, help="the round whose model is compared")
    parser.add_argument("--in-turn", action="store_true", help="wait for a line of input before each round")
    return parser.parse_args()


class Recorder:
    """Notes when rounds end, and prints one line of JSON at the end of the run.

    What it does itself between two rounds is not counted.
    """

    def __init__(self, system: str, packages: tuple[str, ...], given: argparse.Namespace) -> None:
        self._system, self._packages, self._given = system, packages, given
        # A process whose parent ends stays in this tree, so that its seconds are counted.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._watcher = subprocess.Popen(
            [sys.executable, "-S", "-E", __file__, str(os.getpid())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._seconds: list[float] = []
        self._first = self._mark = self._cpu = self._cpu_first = 0.0
        self._parameters: Any = None

    def end_round(self, parameters: Callable[[], Any]) -> None:
        """A round has ended; `parameters` gives the flat vector of the global model."""
        now = time.perf_counter()
        self._seconds.append(now - self._mark)
        if len(self._seconds) == 1:
            self._first = _age()
            self._cpu_first = _cpu(self._watcher.pid)
        if len(self._seconds) == self._given.rounds:
            self._cpu = _cpu(self._watcher.pid)
        if len(self._seconds) == self._given.scored:
            self._parameters = parameters()
        if self._given.in_turn:
            self._wait_for_the_turn()
        self._mark = time.perf_counter()

    def _wait_for_the_turn(self) -> None:
        told = {"seconds": self._seconds[-1]} if len(self._seconds) > 1 else {"first": self._first}
        print(json.dumps({"in_turn": told}), flush=True)
        sys.stdin.readline()

    def finish(self) -> None:
        """Print the line, after all rounds."""
        import workload as w  # not at the top: the watcher must stay small

        watched = self._watcher.communicate("end\n")[0]
        if self._watcher.returncode:
            raise RuntimeError(f"the watcher of the memory ended with status {self._watcher.returncode}")
        peak = json.loads(watched)
        workload = w.WORKLOADS[self._given.workload]
        # The first number is no round's but the time until the first had ended.
        steady = self._seconds[1:]
        initial = w.flat(w.make_model(workload))
        initial_loss, _ = w.score(workload, initial)
        loss, accuracy = w.score(workload, self._parameters)
        line = {
            "system": self._system,
            "workload": workload.name,
            "processes": self._given.processes,
            "versions": {name: version(name) for name in (*self._packages, "torch", "numpy")},
            "python": sys.version.split()[0],
            "round_seconds": [round(s, 4) for s in steady],
            "cpu_seconds_per_round": round((self._cpu - self._cpu_first) / len(steady), 3),
            "first_round_after_start_seconds": round(self._first, 2),
            **peak,
            "scored_round": self._given.scored,
            "initial_loss": round(initial_loss, 4),
            "loss": round(loss, 4),
            "accuracy": round(accuracy, 4),
            "moved": round(float(((self._parameters - initial) ** 2).sum() ** 0.5), 4),
        }
        print(json.dumps(line), flush=True)


def _stat(pid: int) -> list[str]:
    # The name, in parentheses, may hold spaces: fields are counted after it.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _age() -> float:
    """Seconds since this process was started."""
    started = int(_stat(os.getpid())[19]) / TICKS
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def _tree(root: int, without: int) -> dict[int, list[str]]:
    """`{process id: fields of its stat}` of a process and all below it."""
    stats: dict[int, list[str]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stats[int(entry)] = _stat(int(entry))
            except (FileNotFoundError, ProcessLookupError):
                continue
    children: dict[int, list[int]] = {}
    for pid, fields in stats.items():
        children.setdefault(int(fields[1]), []).append(pid)
    found, waiting = {}, [root]
    while waiting:
        pid = waiting.pop()
        if pid != without and pid in stats:
            found[pid] = stats[pid]
            waiting += children.get(pid, [])
    return found


def _cpu(without: int) -> float:
    """CPU seconds of this process and all below it, ended children too."""
    tree = _tree(os.getpid(), without)
    return sum(int(field) for fields in tree.values() for field in fields[11:15]) / TICKS


def _watch(root: int) -> None:
    """Print the largest memory of a process tree, once the input ends.

    The sum of the resident sizes is read four times a second. Only where it
    rises is the sum of the proportional sizes (shared pages counted once)
    read too, which takes longer.
    """
    resident = proportional = 0.0
    processes = 0
    while True:
        tree = _tree(root, os.getpid())
        now = sum(int(fields[21]) for fields in tree.values()) * PAGE_MIB
        if now > 1.01 * resident:
            resident, processes = now, len(tree)
            proportional = max(proportional, sum(map(_pss, tree)))
        if select.select([sys.stdin], [], [], 0.25)[0]:
            break
    line = {"peak_pss_mib": round(proportional), "peak_rss_mib": round(resident), "process_count": processes}
    print(json.dumps(line))


def allocated_by_tree(root: int) -> float:
    """MiB that a process and all below it have allocated: a page that several of them share counts once.

    Files that are mapped, such as libraries, are left out: others on the machine share them.
    """
    return sum(_pss(pid, ("Pss_Anon:", "Pss_Shmem:")) for pid in _tree(root, 0))


def _pss(pid: int, fields: tuple[str, ...] = ("Pss:",)) -> float:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith(fields)) / 1024


if __name__ == "__main__":
    _watch(int(sys.argv[1]))
