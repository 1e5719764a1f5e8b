"""Noise, clipping, releases and accounts give the figures that are committed."""

import json
import math
from typing import Any

import pytest

from tests.golden.make_pins import FILE, TABLES, table

COMMITTED = json.loads(FILE.read_text())


def differences(found: Any, known: Any, place: str = "") -> list[str]:
    """Where two JSON values are not the same; numbers to seven digits, whole ones exactly."""
    if type(found) is not type(known):
        return [f"{place}: {found!r}, not {known!r}"]
    if isinstance(found, list | dict):
        keys = range(len(found)) if isinstance(found, list) else found
        if len(found) != len(known) or (isinstance(found, dict) and found.keys() != known.keys()):
            return [f"{place}: {len(found)} values, not the {len(known)} that there were"]
        return [line for key in keys for line in differences(found[key], known[key], f"{place}/{key}")]
    same = math.isclose(found, known, rel_tol=1e-7) if isinstance(found, float) else found == known
    return [] if same else [f"{place}: {found!r}, not {known!r}"]


def test_there_is_each_table_and_no_other() -> None:
    assert list(COMMITTED) == list(TABLES)
    assert len(TABLES) == 21


@pytest.mark.parametrize("name", TABLES)
def test_the_figures_are_those_that_are_committed(name: str) -> None:
    assert differences(table(name), COMMITTED[name]) == []


def test_a_figure_that_is_another_is_told() -> None:
    one = {"a": [1, 2.0, "x", None], "b": {}}
    assert differences(one, one) == differences({"a": 1.0 + 1e-12}, {"a": 1.0}) == []
    for other in (
        {"a": [1, 2.1, "x", None], "b": {}},
        {"a": [1, 2.0, "x"], "b": {}},
        {"a": [1, 2, "x", None], "b": {}},
    ):
        assert len(differences(one, other)) == 1
