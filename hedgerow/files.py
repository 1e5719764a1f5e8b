"""Write a file, or a line of one, so that it is there whole or not at all, for its owner alone."""

import errno
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

if sys.platform != "win32":
    import fcntl

PRIVATE = 0o600
"""Mode of a file that its owner alone can read and write."""

_LONGEST = 240  # of the 255 bytes that file systems take: an ending has room
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{k}" for port in ("com", "lpt") for k in range(10))}


def file_name(text: str) -> str:
    """A name of a file or folder for any text; two texts have two names.

    >>> file_name("ward 7"), file_name("..")[:4]
    ('ward%207', '+5ec')
    """
    name = quote(text, safe="")
    if name.strip(".") and len(name) <= _LONGEST and not is_device(name):
        return name
    # No quoted text has a plus sign, and so none has the name of another.
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{name[:60].replace('.', '')}+{digest}"


def is_device(name: str) -> bool:
    """Whether Windows takes a file of that name for a device: `nul`, `con.txt`."""
    return name.partition(".")[0].lower() in _DEVICES


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An error of the operating system names the file; that of a full disk does not by itself."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_whole(path: Path, content: bytes, *, durable: bool = True, mode: int | None = None) -> None:
    """Write beside the file, flush to the disk, and rename.

    A process killed at any moment, or a full disk, leaves what was there; so
    does a power cut, where the write is durable. Flushing takes some
    milliseconds. With a `mode`, such as `PRIVATE`, the file has it, whatever
    the umask.

    Raises:
        OSError: it cannot be written; what was there stays. The error names the file.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        with naming(path), open(partial, "wb", opener=_opener(mode)) as file:
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


def put_in_place(partial: Path, path: Path) -> None:
    """Flush a file that was written in parts to the disk, and rename it to a path on the same disk.

    Raises `OSError`.
    """
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
    flush_folder(path.parent)


def append_private(path: Path) -> BinaryIO:
    """Open a file to add to it, unbuffered; its mode is `PRIVATE`, whatever it was. Raises `OSError`."""
    return open(path, "ab", buffering=0, opener=_opener(PRIVATE))


def private_folder(folder: Path) -> Path:
    """Make a folder that its owner alone can look into, or close one that is there; returns it.

    Folders above it that are missing are made in the same way; those that are
    there stay as they are. Raises `OSError`.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    return folder


def who_else_can_write(path: Path) -> str:
    """Why somebody else on this machine could change what is at a path, and what to do; "" if nobody can.

    The path and all folders above it are looked at, also those that links lead
    to: who can write to a folder can put another one in its place, unless the
    folder is sticky, as /tmp is. Always "" on Windows, which has no modes.
    """
    if sys.platform == "win32":
        return ""
    given, found = Path(os.path.abspath(path)), Path(os.path.realpath(path))
    for place in dict.fromkeys((given, *given.parents, found, *found.parents)):
        about = place.lstat()
        if about.st_uid not in (0, os.geteuid()):
            return (
                f"{place} belongs to another user of this machine (uid {about.st_uid}), who can change it;"
                f" it must be yours: run chown {os.geteuid()} {place}"
            )
        sticky = stat.S_ISDIR(about.st_mode) and about.st_mode & stat.S_ISVTX and place not in (given, found)
        if about.st_mode & 0o022 and not stat.S_ISLNK(about.st_mode) and not sticky:
            return (
                f"{place} has mode {stat.S_IMODE(about.st_mode):04o}, so that others on this machine can"
                f" change what is there: run chmod go-w {place}"
            )
    return ""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock, of all threads and processes, while a file is read and written again.

    The lock is a file that is made and stays; it is free when its holder ends,
    however it ends. Raises `OSError`.
    """
    with append_private(path) as file:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def flush_folder(folder: Path) -> None:
    """Flush to the disk which files a folder has; raises `OSError`."""
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _opener(mode: int | None) -> Callable[[str, int], int]:
    def opened(path: str, flags: int) -> int:
        file = os.open(path, flags, 0o666 if mode is None else mode)
        if mode is not None and sys.platform != "win32":
            # The umask may have taken bits, and a file that was there has its own.
            os.fchmod(file, mode)
        return file

    return opened


def append_line(file: Path, text: str) -> None:
    """Add a line and flush it to the disk, or leave the file as it was.

    A line before it that a kill left unfinished is cut off.

    Raises:
        OSError: it cannot be written.
    """
    made, line = not file.exists(), f"{text}\n".encode()
    with naming(file), open(file, "a+b", buffering=0, opener=_opener(PRIVATE)) as stream:
        size = _whole_lines(stream)
        try:
            if stream.write(line) != len(line):
                raise OSError(errno.ENOSPC, "the disk took only a part of the line")
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
