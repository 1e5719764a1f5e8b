"""The threat model names, for all that it says, a test that is there."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


@cache
def named_in(file: str) -> set[str]:
    nodes = ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
    functions = [node.name for node in nodes if isinstance(node, ast.FunctionDef)]
    return {name for name in functions if name.startswith("test_")}


def test_each_test_that_the_threat_model_names_is_there() -> None:
    assert len(set(NAMED)) >= 40
    assert [f"{file}::{name}" for file, name in NAMED if name not in named_in(file)] == []


def test_each_row_names_a_test_and_each_adversary_has_rows() -> None:
    sections = PAGE.split("\n## ")[1:]
    assert len(sections) == 8
    for section in sections:
        rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
        assert rows, section
        for row in rows:
            holds, _, shown = row.strip("| ").rpartition("|")
            assert holds.strip(), row
            assert re.search(r"`tests/[\w/]+\.py::\w+`", shown), row
