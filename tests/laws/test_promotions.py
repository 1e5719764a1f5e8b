"""What was promoted stands until it is taken back, whenever the process is killed."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.promotion.lineage import Promotion
from hedgerow.promotion.shelf import Shelf, ShelfError
from tests.killed_at import Killed, killed_at
from tests.promoted import content, digest, make

ACTS = st.lists(st.one_of(st.integers(0, 3), st.just("back"), st.just("refuse")), max_size=12)


def act(shelf: Shelf, what: object) -> None:
    if what == "refuse":
        shelf.refuse(content(9), 1, "worse", {"rule": "canary"})
    elif what == "back":
        shelf.rollback()
    else:
        shelf.promote(content(float(what)), make)


def models(shelf: Shelf) -> list[str]:
    return [each.model for each in shelf.standing()]


@given(ACTS)
@settings(max_examples=15, deadline=None)
def test_promotions_and_rollbacks_are_a_stack_and_its_last_five_models_are_there(tmp_path_factory, acts):
    shelf, stack = Shelf(tmp_path_factory.mktemp("shelf")), []
    for what in acts:
        if what == "back" and len(stack) < 2:
            with pytest.raises(ShelfError, match="none to go back to"):
                shelf.rollback()
            continue
        if what == "back" and stack[-2] not in kept(shelf):
            with pytest.raises(ShelfError, match="cannot be read"):
                shelf.rollback()
            continue
        act(shelf, what)
        if what == "back":
            stack.pop()
        elif what != "refuse":
            stack.append(digest(content(float(what))))
        assert models(shelf) == stack
        assert kept(shelf) >= set(stack[-1:])
    for each in shelf.standing()[-1:]:
        assert digest(shelf.content(each)) == each.model


def kept(shelf: Shelf) -> set[str]:
    return {file.name.partition(".")[0] for file in (shelf.folder / "models").glob("*.safetensors")}


@pytest.mark.parametrize("what", [2, "back", "refuse"])
def test_killed_before_any_file_operation_the_model_of_before_or_after_stands(tmp_path, what):
    states, operation = set(), 0
    while True:
        shelf = Shelf(tmp_path / str(operation))
        shelf.folder.mkdir()
        for value in range(2):
            shelf.promote(content(value), make)
        before = models(shelf)
        try:
            with killed_at(operation) as done:
                act(shelf, what)
            break
        except Killed:
            after = models(shelf)
            states.add(tuple(after))
            assert after in (before, [*before, digest(content(2))], before[:-1])
            assert digest(shelf.content(shelf.standing()[-1])) == after[-1]
            shelf.promote(content(3), make)  # and it goes on
            assert models(shelf) == [*after, digest(content(3))]
        operation += 1
    assert len(done) == operation
    assert operation >= (6 if what == 2 else 2)
    assert len(states) == (1 if what == "refuse" else 2)


def test_a_promotion_is_read_as_it_was_written_and_what_is_none_is_refused():
    said = make(1, "2026-01-01T00:00:00+00:00", "a" * 64, 10).to_json()
    assert Promotion.from_json(json.loads(json.dumps(said))).to_json() == said
    assert Promotion.from_json({**said, "of a later version": 1}).to_json() == said
    for wrong in ({"model": "../x"}, {"model": "A" * 64}, {"size": -1}, {"number": True}, {"lineage": None}):
        with pytest.raises(ValueError, match="not a promotion"):
            Promotion.from_json({**said, **wrong})
    for wrong in ({"recipe": "\x1b[2J"}, {"recipe": 7}, {"round": "1"}, {"round": None}):
        with pytest.raises(ValueError, match="not a promotion"):
            Promotion.from_json({**said, "lineage": {**said["lineage"], **wrong}})


def test_a_line_that_was_changed_and_a_model_that_was_changed_are_named(tmp_path):
    shelf = Shelf(tmp_path)
    first = shelf.promote(content(1), make)
    shelf.path(first.model).write_bytes(content(2))
    with pytest.raises(ShelfError, match="has changed"):
        shelf.content(first)
    assert shelf.promote(content(1), make).model == first.model
    assert digest(shelf.content(first)) == first.model
    with shelf.file.open("a") as file:
        file.write('{"rolled_back_to": 7}\n')
    with pytest.raises(ShelfError, match=r"line 3 of .* restore it from a copy"):
        shelf.current()
    with pytest.raises(ShelfError):
        shelf.promote(content(3), make)
