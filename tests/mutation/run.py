"""Do the tests notice a fault? Operators put faults in, one at a time, and the nearest tests run on each.

    python -m tests.mutation.run --draw 200 --seed 0      # a drawn part, by file; goes on where it stopped
    python -m tests.mutation.run                          # every mutant (hours)

A mutant is caught by the doctests of its file, or by a test of `TESTS`: what
runs with the fault is a process of its own, forked from one in which the
libraries are loaded and Hedgerow is not. Nothing in the working tree changes.
"""

import argparse
import ast
import doctest
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.mutation.operators import Mutant, mutants

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results.json")
SECONDS = 300
"""A mutant whose tests take longer is caught: it hangs."""

_RARE = ("seed for system", "reuse of a stream")
_LEDGER, _SAMPLES = "tests/laws/test_ledger.py", "tests/laws/test_private_samples.py"
_ROUNDS, _NOISE = "tests/laws/test_private_rounds.py", "tests/statistics/test_noise.py"
_ADJACENCY, _AUDIT = "tests/laws/test_adjacency.py", "tests/statistics/test_audit.py"
_LITTLE, _CALIBRATION = "tests/laws/test_little_noise.py", "tests/laws/test_calibration.py"

TESTS: dict[str, tuple[str, ...]] = {
    "hedgerow/privacy/accounting.py": (
        _LEDGER, "tests/laws/test_skellam_accounting.py", _ADJACENCY, _LITTLE,
    ),
    "hedgerow/privacy/adjacency.py": (_ADJACENCY,),
    "hedgerow/privacy/bands.py": ("tests/statistics/test_banded_noise.py",),
    "hedgerow/privacy/discrete_gaussian.py": ("tests/statistics/test_discrete_gaussian.py",),
    "hedgerow/privacy/events.py": (_LEDGER, "tests/laws/test_skellam_accounting.py"),
    "hedgerow/privacy/ledger.py": (_LEDGER, _ROUNDS, _ADJACENCY, "tests/faults/test_full_disk.py"),
    "hedgerow/privacy/planning.py": (_LEDGER, _ADJACENCY, _CALIBRATION, _LITTLE),
    "hedgerow/privacy/skellam.py": ("tests/statistics/test_skellam.py",),
    "hedgerow/strategies/calibration.py": (_CALIBRATION, _ADJACENCY),
    "hedgerow/strategies/transforms/clipping.py": (_NOISE, _ROUNDS, "tests/laws/test_transforms.py"),
    "hedgerow/strategies/transforms/client_noise.py": (
        "tests/statistics/test_distributed_noise.py", "tests/laws/test_secure_privacy.py", _AUDIT,
    ),
    "hedgerow/strategies/transforms/noise.py": (_NOISE, "tests/statistics/test_banded_noise.py"),
    "hedgerow/strategies/pipeline/norms.py": (
        "tests/statistics/test_sensitivity.py",
        "tests/laws/test_transforms.py",
    ),
    "hedgerow/strategies/release.py": (
        _NOISE, "tests/statistics/test_banded_noise.py", _ROUNDS, "tests/statistics/test_sensitivity.py",
        _AUDIT,
    ),
    "hedgerow/client/account.py": (_SAMPLES, "tests/engines/test_sample_noise.py"),
    "hedgerow/client/torch/private.py": (_SAMPLES, _AUDIT),
    "hedgerow/server/private.py": (
        _ROUNDS, _LEDGER, "tests/statistics/test_distributed_noise.py", _NOISE, _AUDIT,
    ),
}  # fmt: skip
"""The files of noise, clipping, release and account, and the tests that are to notice a fault in each."""


def every_mutant() -> list[tuple[Mutant, Any]]:
    """All of them, in the order of files and lines."""
    return [found for file in TESTS for found in mutants((ROOT / file).read_text(), file)]


def drawn(known: Sequence[Mutant], number: int, seed: int) -> list[Mutant]:
    """So many mutants: all of the operators for randomness, and of each file as many as its share.

    >>> drawn([], 3, seed=0)
    []
    """
    order = random.Random(seed)
    first = [mutant for mutant in known if mutant.operator in _RARE]
    others = sorted((m for m in known if m.operator not in _RARE), key=lambda m: (m.file, m.key))
    share = min(1.0, max(0, number - len(first)) / max(1, len(others)))
    for file in TESTS:
        of_file = [mutant for mutant in others if mutant.file == file]
        first += order.sample(of_file, min(len(of_file), round(share * len(of_file) + 0.5)))
    order.shuffle(first)
    return first


def caught(mutant: Mutant, tree: Any, *, tests: Sequence[str] | None = None, seconds: int = SECONDS) -> str:
    """Which test notices the mutant, `"too long"` where they do not end; empty where none does."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.close(read)
        _silence()
        told = "the tests could not be run"
        try:
            told = _tried(mutant.file, tree, TESTS[mutant.file] if tests is None else tests)
        except Exception as error:
            told += f": {error!r}"
        os.write(write, told.encode()[:500])
        os._exit(0)
    os.close(write)
    end = time.monotonic() + seconds
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(read)
            return "too long"
        time.sleep(0.05)
    with os.fdopen(read) as told_to:
        return told_to.read()


def _tried(file: str, tree: Any, tests: Sequence[str]) -> str:
    """Run with the fault in place, in this process, which is lost for anything else."""
    import pytest

    name = file.removesuffix(".py").replace("/", ".")
    sys.meta_path.insert(0, _Faulty(name, file, tree))
    try:
        module = importlib.import_module(name)
    except Exception:
        return "import"
    if doctest.testmod(module, verbose=False).failed:
        return "doctest"
    told = _Told()
    options = ["-x", "-q", "-p", "no:xdist", "-m", "not slow", "--assert=plain"]
    code = pytest.main([*options, *tests], plugins=[told])
    return told.first if code else ""


class _Told:
    """Remembers the first test that failed."""

    first = "a test that cannot be collected"

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.first = report.nodeid.removeprefix("tests/")


class _Faulty(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from a tree, and leaves all others alone."""

    def __init__(self, name: str, file: str, tree: Any) -> None:
        self._name, self._file, self._tree = name, str(ROOT / file), tree

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != self._name:
            return None
        spec = importlib.machinery.ModuleSpec(name, self, origin=self._file)
        spec.has_location = True
        return spec

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._tree, self._file, "exec"), module.__dict__)


def _silence() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


def preload() -> None:
    """Load what every test needs, and nothing of Hedgerow."""
    os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1", OMP_NUM_THREADS="1")
    os.chdir(ROOT)
    for library in (
        "numpy", "scipy.stats", "torch", "flwr.app", "flwr.clientapp", "flwr.serverapp", "hypothesis",
        "pytest", "dp_accounting.pld", "dp_accounting.rdp",
    ):  # fmt: skip
        importlib.import_module(library)
    assert not any(name == "hedgerow" for name in sys.modules), "what is loaded already cannot have a fault"


def _to_do(number: int | None, seed: int, done: dict[str, Any]) -> Iterator[tuple[Mutant, Any]]:
    trees = {mutant.key: (mutant, tree) for mutant, tree in every_mutant()}
    known = [mutant for mutant, _ in trees.values()]
    for mutant in known if number is None else drawn(known, number, seed):
        if mutant.key not in done:
            yield trees[mutant.key]


def main() -> None:
    """Run mutants, and write each result down as it is there."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--draw", type=int, help="so many, all by default")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--part", default="0/1", help="every so many-th only, from which on, such as 0/2")
    arguments.add_argument("--results", type=Path, default=RESULTS)
    given = arguments.parse_args()
    preload()
    done = json.loads(given.results.read_text()) if given.results.exists() else {}
    sound: set[str] = set()
    first, step = (int(number) for number in given.part.split("/"))
    for mutant, tree in list(_to_do(given.draw, given.seed, done))[first::step]:
        if mutant.file not in sound:
            failing = caught(mutant, ast.parse((ROOT / mutant.file).read_text()))
            assert not failing, f"without any fault, {failing} fails"
            sound.add(mutant.file)
        started = time.monotonic()
        by = caught(mutant, tree)
        done[mutant.key] = {**asdict(mutant), "caught": by}
        given.results.write_text(json.dumps(done, indent=1) + "\n")
        what = (
            f"{mutant.file}:{mutant.line} {mutant.operator}: {mutant.before[:50]!r} -> {mutant.after[:60]!r}"
        )
        print(f"{time.monotonic() - started:5.0f} s  {by or 'SURVIVED':60.60} {what}", flush=True)
        if by.startswith("the tests could not be run"):
            raise SystemExit(by)
    survived = sum(not result["caught"] for result in done.values())
    print(f"{len(done) - survived} of {len(done)} are caught")


if __name__ == "__main__":
    main()
