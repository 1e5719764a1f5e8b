"""Write a file, or a line of one, so that it is there whole or not at all."""

import os
from pathlib import Path
from typing import BinaryIO


def write_whole(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write beside the file, flush to the disk, and rename.

    A process killed at any moment, or a full disk, leaves what was there; so
    does a power cut, where the write is durable. Flushing takes some
    milliseconds.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    if durable:
        flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Flush to the disk which files a folder has; raises `OSError`."""
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def append_line(file: Path, text: str) -> None:
    """Add a line and flush it to the disk, or leave the file as it was.

    A line before it that a kill left unfinished is cut off.

    Raises:
        OSError: it cannot be written.
    """
    made, line = not file.exists(), f"{text}\n".encode()
    with file.open("a+b", buffering=0) as stream:
        size = _whole_lines(stream)
        try:
            if stream.write(line) != len(line):
                raise OSError("the disk took only a part of the line")
            os.fsync(stream.fileno())
        except OSError:
            os.truncate(file, size)
            raise
    if made:
        flush_folder(file.parent)


def read_lines(file: Path) -> list[bytes]:
    """The lines of a file that `append_line` writes; none where there is no file.

    One that a kill left unfinished is left out: what it was written for has
    not happened.
    """
    if not file.is_file():
        return []
    whole = file.read_bytes().rpartition(b"\n")[0]
    return whole.split(b"\n") if whole else []


def _whole_lines(stream: BinaryIO) -> int:
    """The size of a file up to its last whole line, to which it is cut."""
    size = stream.seek(0, os.SEEK_END)
    if not size:
        return 0
    stream.seek(size - 1)
    if stream.read(1) != b"\n":
        stream.seek(0)
        size = len(b"".join(stream.read().rpartition(b"\n")[:2]))
        stream.truncate(size)
    return size
