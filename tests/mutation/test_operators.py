"""The mutants are those of the operators, and a drawn one that a test once caught is caught again."""

import ast
import json
import os
import subprocess
import sys
from collections import Counter

from tests.mutation.operators import mutants
from tests.mutation.run import RESULTS, ROOT, TESTS, drawn, every_mutant

SOURCE = """
def draw(sigma, n, seed, round, seeded):
    words = seeded_words(seed, "noise", round=round) if seeded else rng.system_words
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
        "seeded_words(seed, 'noise')", "rng.system_words", "n <= 1", "pass", "(2 * sigma + 1.5) * 0.9",
        "2 * sigma", "1.35",
    } <= after  # fmt: skip
    assert {mutant.operator for mutant, _ in found} == {
        "scale", "off by one", "drop a term", "skip", "one side", "reuse of a stream", "seed for system",
    }  # fmt: skip
    for mutant, tree in found:
        assert ast.unparse(tree) != ast.unparse(ast.parse(SOURCE)), mutant


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
    assert {mutant.file for mutant in once} == set(TESTS)
    assert all(m in once for m in known if m.operator in ("seed for system", "reuse of a stream"))


def test_what_survived_is_explained():
    results = json.loads(RESULTS.read_text()).values()
    page = (RESULTS.parent / "README.md").read_text()
    survived = [mutant for mutant in results if not mutant["caught"]]
    for mutant in survived:
        assert mutant["file"].rpartition("/")[2] in page, mutant


def test_a_caught_mutant_is_caught_again():
    script = (
        "from tests.mutation import run\n"
        "run.preload()\n"
        "import ast\n"
        "found = [(m, t) for m, t in run.every_mutant() if m.file == 'hedgerow/privacy/adjacency.py']\n"
        "mutant, tree = next((m, t) for m, t in found if m.operator == 'scale' and m.before == '2.0')\n"
        "test = ['tests/laws/test_adjacency.py::test_a_samples_adjacency_without_noise_is_refused']\n"
        "sound = ast.parse((run.ROOT / mutant.file).read_text())\n"
        "print(repr(run.caught(mutant, sound, tests=test)), run.caught(mutant, tree, tests=test))\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert told == "'' doctest\n", told
