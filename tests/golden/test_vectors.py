"""What other languages are held to is what this one does."""

import json

import pytest

from hedgerow.wire import codec
from tests.golden.make_vectors import FILES, FOLDER, contents, text


def test_there_is_each_file_and_no_other() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.json" for name in FILES}
    assert len(FILES) == 15


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_what_is_made_now(name) -> None:
    assert text(name) == (FOLDER / f"{name}.json").read_text(encoding="utf-8")


def test_the_committed_bytes_are_read_as_the_messages_that_they_are() -> None:
    committed = json.loads((FOLDER / "messages.json").read_text(encoding="utf-8"))["messages"]
    made = contents()
    assert sorted(committed) == sorted(made)
    assert len(made) == 12
    for name, content in made.items():
        assert codec.decode(bytes.fromhex(committed[name]["bytes"])) == content, name
