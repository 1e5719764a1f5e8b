"""The mutants are those of the operators, and a drawn one that a test once caught is caught again."""

import ast
import json
import os
import subprocess
import sys
from collections import Counter

from tests.mutation.fault import changed, telling
from tests.mutation.operators import mutants
from tests.mutation.run import FILES, RESULTS, ROOT, drawn, every_mutant

SOURCE = """
def draw(sigma, n, seed, round, seeded):
    source = seeded_source(seed, "noise", round=round) if seeded else rng.system_source
    total = 0
    if n < 1:
        raise ValueError("too few")
    total += 2 * sigma + 1.5
    record(total)
    return total
"""


def test_each_operator_puts_in_the_faults_that_it_says():
    found = mutants(SOURCE, "a.py")
    after = {mutant.after for mutant, _ in found}
    assert {
        "seeded_source(seed, 'noise')", "rng.system_source", "n <= 1", "pass", "(2 * sigma + 1.5) * 0.9",
        "2 * sigma", "1.35",
    } <= after  # fmt: skip
    assert {mutant.operator for mutant, _ in found} == {
        "scale", "off by one", "drop a term", "skip", "one side", "reuse of a stream", "seed for system",
    }  # fmt: skip
    for mutant, tree in found:
        assert ast.unparse(tree()) != ast.unparse(ast.parse(SOURCE)), mutant


def test_mutants_have_keys_of_their_own_that_do_not_depend_on_lines():
    keys = Counter(mutant.key for mutant, _ in every_mutant())
    assert max(keys.values()) == 1
    assert len(keys) > 1000
    moved = {mutant.key for mutant, _ in mutants("\n\n" + SOURCE, "a.py")}
    assert moved == {mutant.key for mutant, _ in mutants(SOURCE, "a.py")}


def test_a_draw_follows_from_its_seed_and_holds_all_faults_of_randomness():
    known = [mutant for mutant, _ in every_mutant()]
    once = drawn(known, 100, seed=0)
    assert once == drawn(known, 100, seed=0) != drawn(known, 100, seed=1)
    assert {mutant.file for mutant in once} == set(FILES)
    assert all(m in once for m in known if m.operator in ("seed for system", "reuse of a stream"))


def results() -> dict[str, dict[str, object]]:
    return json.loads(RESULTS.read_text())


def test_every_result_is_of_a_fault_that_can_still_be_put_in():
    """Whoever changes a line of these files runs its mutants again (`make mutation`)."""
    now = {mutant.key: mutant for mutant, _ in every_mutant()}
    for key, result in results().items():
        assert key in now, f"{result['file']}, {result['where']} has changed: run `make mutation`"
        told = {name: result[name] for name in ("file", "where", "operator", "before", "after", "number")}
        assert told == {name: getattr(now[key], name) for name in told}


def test_nineteen_of_twenty_faults_are_noticed_and_each_other_is_explained():
    found = results()
    faults = [result for result in found.values() if result["caught"] != "no change"]
    survived = {key for key, result in found.items() if not result["caught"]}
    assert len(survived) <= 0.05 * len(faults)
    page = (RESULTS.parent / "README.md").read_text()
    assert [key for key in survived if key not in page] == []


def test_code_that_does_the_same_is_no_fault():
    file = "hedgerow/privacy/adjacency.py"
    source = (ROOT / file).read_text()
    assert changed(file, ast.parse("\n\n" + source)) is None
    found = {mutant.before: changed(file, tree()) for mutant, tree in mutants(source, file)}
    assert found["2.0"] == "sensitivity"
    counts = "hedgerow/privacy/skellam.py"
    first, tree = next(found for found in mutants((ROOT / counts).read_text(), counts) if not found[0].where)
    assert changed(counts, tree()) == "", first


def test_each_outermost_function_says_that_it_runs():
    found: list[str] = []
    for file, call in (
        ("hedgerow/privacy/adjacency.py", "sensitivity"),
        ("hedgerow/privacy/events.py", "mechanism"),
    ):
        scope = {"reached": found.append, "__name__": "hedgerow.privacy.watched"}
        exec(compile(telling(file), file, "exec"), scope)
        scope[call]("replace")
        assert found == [f"{file}:{call}"]
        found.clear()


def test_mutants_that_a_test_noticed_are_noticed_again():
    """Those of one function, in processes of their own."""
    script = (
        "from tests.mutation import run\n"
        "file = 'hedgerow/privacy/adjacency.py'\n"
        "found = run.every_mutant([file])\n"
        "run.try_all(found, lambda m, by: print(m.after, by), files=[file], tests=[])\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for fault in ("2.0", "1.0", "adjacency != 'replace'", "1.8", "0.9"):
        assert f"\n{fault} hedgerow/privacy/adjacency.py::hedgerow.privacy.adjacency.sensitivity" in told
