"""Of four devices one answers badly, in each of some seventy ways: it is dropped by name, or bounded."""

import re
from functools import cache
from pathlib import Path

import pytest

from hedgerow.experiments.runs.store import line_of
from hedgerow.simulation.flower import task_identity
from tests.faults.bad_replies import runs
from tests.faults.bad_replies.kinds import KINDS, LIE
from tests.faults.bad_replies.objects import OBJECTS
from tests.faults.bad_replies.table import row, rows

PAGE = Path(__file__).parents[3] / "docs" / "bad-replies.md"


@cache
def found(name: str) -> tuple[runs.Run, runs.Run]:
    with task_identity(1):
        return runs.of_kind(KINDS[name])


def test_there_are_more_than_forty_kinds():
    assert len(KINDS) > 60
    assert len(OBJECTS) == 10


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.says != LIE])
def test_it_is_dropped_by_name_and_moves_the_model_as_little_as_its_absence(name):
    bad, three = found(name)
    reasons = [result.dropped[runs.LIAR] for result in bad.results if runs.LIAR in result.dropped]
    assert len(reasons) >= 2
    for reason in reasons:
        assert len(reason) <= 500
        assert reason.isprintable()
    assert KINDS[name].says in " ".join(reasons)
    assert all(set(result.dropped) <= {runs.LIAR} for result in bad.results)
    silent = KINDS[name].says == "it did not reply in time"
    asked_no_more = (runs.LIAR,) if len(reasons) >= 3 and not silent else ()
    assert bad.results[-1].set_aside == asked_no_more
    counted = [result for result in bad.results if not result.failed and runs.LIAR in result.cohort]
    if all(runs.LIAR in result.dropped for result in bad.results[:3]):
        assert bad.model.tobytes() == three.model.tobytes()
    else:  # it began with one that was not bad, or cost the first round
        assert counted
        assert runs.damage(bad, three) < 0.1


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.says == LIE])
def test_what_has_the_right_form_is_bounded_by_what_the_norms_allow(name):
    bad, three = found(name)
    assert not any(result.failed for result in bad.results)
    assert all(set(result.dropped) <= {runs.LIAR} for result in bad.results)
    assert runs.damage(bad, three) < 3


def test_a_reply_that_comes_twice_counts_once():
    bad, _ = found("its reply twice")
    with task_identity(1):
        once = runs.run(runs.honest, "weight_by_examples()")
    assert bad.model.tobytes() == once.model.tobytes()


def test_without_the_bound_a_delta_that_is_10000_times_too_large_ruins_the_model():
    with task_identity(1):
        bad, three = runs.of_kind(KINDS["10,000 times its update"], norm_bound=0)
    assert runs.damage(bad, three) > 100


def test_no_line_of_a_run_is_more_than_a_few_thousand_letters_whatever_a_device_says():
    for name in ("an error of a megabyte", "a name of a megabyte", "a metric with a name of a megabyte"):
        for result in found(name)[0].results:
            assert len(repr(line_of(result))) < 5000


def test_the_page_says_of_each_kind_what_was_measured():
    listed = {
        line.split(" | ")[0].lstrip("| "): line for line in PAGE.read_text().splitlines() if " | " in line
    }
    assert set(KINDS) <= set(listed)
    for name in KINDS:
        mine, theirs = row(name, *found(name)), listed[name]
        figures = [
            [float(n) for n in re.findall(r"\d+\.\d+", line.split(" | ", 2)[2])] for line in (mine, theirs)
        ]
        assert mine.split(" | ")[1] == theirs.split(" | ")[1]
        assert figures[0] == pytest.approx(figures[1], abs=0.03)


def test_rows_are_made_of_all_kinds():
    assert len(rows(found)) == len(KINDS)
