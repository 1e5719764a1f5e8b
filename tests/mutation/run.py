"""Do the tests notice a fault? Operators put faults in, one at a time, and the nearest tests run on each.

    python -m tests.mutation.run --draw 200 --seed 0      # a drawn part, by file; goes on where it stopped
    python -m tests.mutation.run                          # every mutant (an hour and more)

First every test of `QUICK` (`shown.py`) runs without a fault, to see which
functions of `FILES` it reaches; a mutant is then shown to the tests that
reach it, the quickest first, until one fails. What is left is shown to `TESTS`
in the same way. Each mutant has a forked process of its own. Nothing in the
working tree changes.
"""

import argparse
import ast
import importlib
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.mutation.fault import Faulty, changed, put_in
from tests.mutation.operators import Mutant, mutants
from tests.mutation.shown import FILES, QUICK, TESTS
from tests.mutation.suite import Child, Sound, collected, first_failed, sound

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results.json")

_RARE = ("seed for system", "reuse of a stream")

Made = Callable[[], ast.Module]
Say = Callable[[str], None]


def every_mutant(files: Sequence[str] = FILES) -> list[tuple[Mutant, Made]]:
    """All of them, in the order of files and lines."""
    return [found for file in files for found in mutants((ROOT / file).read_text(), file)]


def drawn(known: Sequence[Mutant], number: int, seed: int) -> list[Mutant]:
    """So many mutants: all of the operators for randomness, and of each file as many as its share.

    >>> drawn([], 3, seed=0)
    []
    """
    order = random.Random(seed)
    first = [mutant for mutant in known if mutant.operator in _RARE]
    others = sorted((m for m in known if m.operator not in _RARE), key=lambda m: (m.file, m.key))
    share = min(1.0, max(0, number - len(first)) / max(1, len(others)))
    for file in FILES:
        of_file = [mutant for mutant in others if mutant.file == file]
        first += order.sample(of_file, min(len(of_file), round(share * len(of_file) + 0.5)))
    order.shuffle(first)
    return first


@dataclass(frozen=True)
class Trial:
    """A mutant, and the tests that it is shown to.

    Attributes:
        mutant, tree: the fault.
        function: that gets other code where it is loaded; `""` if the module must be loaded with the fault.
        tests: names, in their order.
        seconds: of CPU that it may take.
    """

    mutant: Mutant
    tree: ast.Module
    function: str
    tests: Sequence[str]
    seconds: int


def _trial(mutant: Mutant, tree: ast.Module, function: str, known: Sound) -> Trial:
    tests = known.telling(mutant.file, function)
    return Trial(mutant, tree, function, tests, known.allowed(tests))


def _afresh(given: Trial) -> Child:
    """In a process that has nothing of Hedgerow loaded yet."""

    def work(say: Say) -> None:
        sys.meta_path.insert(0, Faulty(given.mutant.file, given.tree))
        try:
            importlib.import_module(given.mutant.file.removesuffix(".py").replace("/", "."))
        except Exception:
            say("import")
            return
        files = sorted({name.partition("::")[0] for name in given.tests})
        collected(files, lambda session: say(first_failed(_chosen(session, given.tests))))

    return Child(work, given.seconds + 60)


def _loaded(given: Trial, session: Any) -> Child:
    """In a process that has collected the tests."""

    def work(say: Say) -> None:
        put_in(given.mutant.file, given.function, given.tree)
        say(first_failed(_chosen(session, given.tests)))

    return Child(work, given.seconds)


def _chosen(session: Any, names: Sequence[str]) -> list[Any]:
    items = {item.nodeid: item for item in session.items}
    return [items[name] for name in names if name in items]


def _side_by_side(
    trials: Iterable[Trial], start: Callable[[Trial], Child], workers: int, tell: Callable[[Trial, str], None]
) -> None:
    waiting, running = list(trials), []
    while waiting or running:
        while waiting and len(running) < workers:
            given = waiting.pop(0)
            running.append((given, start(given)))
        time.sleep(0.05)
        for given, child in [pair for pair in running if pair[1].ended()]:
            running = [pair for pair in running if pair[1] is not child]
            tell(given, child.result.strip() if child.result else "could not be run")


def _in_loaded(trials: Sequence[Trial], paths: Sequence[str], workers: int) -> Iterator[tuple[Trial, str]]:
    """Show mutants to the tests in forks of one process that has them all loaded; as they end."""

    def work(say: Say) -> None:
        def tell(given: Trial, by: str) -> None:
            say(json.dumps([given.mutant.key, by]))

        def use(session: Any) -> None:
            _side_by_side(trials, lambda given: _loaded(given, session), workers, tell)

        collected(paths, use)

    by_key = {given.mutant.key: given for given in trials}
    child, heard, ended = Child(work), 0, False
    while not ended:
        time.sleep(0.2)
        ended = child.ended()
        lines = child.result.split("\n")[:-1]
        for line in lines[heard:]:
            if not line.startswith("["):
                raise RuntimeError(f"the tests {line}")
            key, by = json.loads(line)
            yield by_key[key], by
        heard = len(lines)


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


def try_all(
    chosen: Sequence[tuple[Mutant, Made]],
    tell: Callable[[Mutant, str], None],
    *,
    tests: Sequence[str] = TESTS,
    files: Sequence[str] = FILES,
    workers: int = 1,
) -> None:
    """Show each mutant to the tests; `tell` hears who noticed, `"no change"` or nothing at all.

    Raises:
        RuntimeError: tests cannot be run.
    """
    known = sound(files, tests, workers)
    print(
        f"{len(known.seconds)} tests take {sum(known.seconds.values()):.0f} s of CPU without a fault",
        flush=True,
    )
    quick, afresh = [], []
    for mutant, made in chosen:
        tree = made()
        function = changed(mutant.file, tree)
        if function is None:
            tell(mutant, "no change")
        else:
            (quick if function else afresh).append(_trial(mutant, tree, function, known))
    for given, by in _in_loaded(quick, [*files, *tests], workers):
        if not by and f"{given.mutant.file}:{given.function}" in known.imported:
            # What ran while tests were collected ran without the fault.
            afresh.append(_trial(given.mutant, given.tree, "", known))
        else:
            tell(given.mutant, by)
    _side_by_side(afresh, _afresh, workers, lambda given, by: tell(given.mutant, by))


def main() -> None:
    """Run mutants, and write each result down as it is there."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--draw", type=int, help="so many, all by default")
    arguments.add_argument("--seed", type=int, nargs="+", default=[0], help="of a draw, or of several")
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--examples", action="store_true", help="only the examples; no survivor is noted")
    arguments.add_argument("--quick", action="store_true", help="only `QUICK`: what these miss has survived")
    arguments.add_argument("--again", action="store_true", help="only those that survived")
    arguments.add_argument("--results", type=Path, default=RESULTS)
    given = arguments.parse_args()
    preload()
    done = json.loads(given.results.read_text()) if given.results.exists() else {}
    every = {mutant.key: (mutant, tree) for mutant, tree in every_mutant()}
    known = [mutant for mutant, _ in every.values()]
    if given.again:
        wanted = [m for m in known if m.key in done and not done[m.key]["caught"]]
    else:
        draws = [known] if given.draw is None else [drawn(known, given.draw, seed) for seed in given.seed]
        wanted = [m for m in dict.fromkeys(m for draw in draws for m in draw) if m.key not in done]

    def tell(mutant: Mutant, by: str) -> None:
        if by.startswith("could not be run"):
            raise RuntimeError(f"{mutant}: {by}")
        if given.examples and not by:
            return
        done[mutant.key] = {**asdict(mutant), "caught": by}
        given.results.write_text(json.dumps(done, indent=1, sort_keys=True) + "\n")
        what = f"{mutant.operator}: {mutant.before[:50]!r} -> {mutant.after[:60]!r}"
        print(f"{by or 'SURVIVED':60.60} {mutant.file}:{mutant.line} {what}", flush=True)

    def show(shown: Sequence[Mutant], tests: Sequence[str], hear: Callable[[Mutant, str], None]) -> None:
        try_all([every[mutant.key] for mutant in shown], hear, tests=tests, workers=given.workers)

    left: list[Mutant] = []
    if given.examples or given.quick:
        show(wanted, QUICK if given.quick else (), tell)
    else:
        show(wanted, QUICK, lambda mutant, by: tell(mutant, by) if by else left.append(mutant))
    if left:
        show(left, TESTS, tell)
    survived = sum(not result["caught"] for result in done.values())
    print(f"{len(done) - survived} of {len(done)} are caught")


if __name__ == "__main__":
    main()
