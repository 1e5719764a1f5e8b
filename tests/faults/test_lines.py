"""Lines that are written before something happens: a kill or a full disk leaves whole ones."""

import os

import pytest

from hedgerow.files import append_line, read_lines


@pytest.mark.parametrize("torn", [b"", b"thr", b'{"a": 1'])
def test_a_line_that_a_kill_left_unfinished_is_not_there_and_is_cut_by_the_next(torn, tmp_path) -> None:
    file = tmp_path / "lines"
    assert read_lines(file) == []
    append_line(file, "one")
    append_line(file, "two")
    with file.open("ab") as out:
        out.write(torn)
    before = file.read_bytes()
    assert read_lines(file) == [b"one", b"two"]
    assert file.read_bytes() == before, "to read is not to write"
    append_line(file, "three")
    assert file.read_bytes() == b"one\ntwo\nthree\n"
    file.write_bytes(torn)
    append_line(file, "one")
    assert read_lines(file) == [b"one"]


def test_a_disk_that_takes_no_more_leaves_the_lines_that_were_there(tmp_path, monkeypatch) -> None:
    file = tmp_path / "lines"
    append_line(file, "one")

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            append_line(file, "two")
    assert file.read_bytes() == b"one\n"
