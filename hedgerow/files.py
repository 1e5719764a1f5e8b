"""Write files and lines atomically: complete or not at all, and readable by their owner alone."""

import errno
import hashlib
import os
import shutil
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
"""Mode of a file that only its owner can read and write."""

_LONGEST = 240  # of the 255 bytes that file systems allow, which leaves room for a suffix
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{k}" for port in ("com", "lpt") for k in range(10))}


def file_name(text: str) -> str:
    """A file or folder name for any text; different texts get different names.

    >>> file_name("ward 7"), file_name("..")[:4]
    ('ward%207', '+5ec')
    """
    name = quote(text, safe="")
    if name.strip(".") and len(name) <= _LONGEST and not is_device(name):
        return name
    # Quoted text never contains a plus sign, so this cannot collide with another name.
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{name[:60].replace('.', '')}+{digest}"


def is_device(name: str) -> bool:
    """Whether Windows treats a file of that name as a device: `nul`, `con.txt`."""
    return name.partition(".")[0].lower() in _DEVICES


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the file's name to operating system errors that lack it, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_whole(path: Path, content: bytes, *, durable: bool = True, mode: int | None = None) -> None:
    """Write beside the file, flush to the disk, and rename.

    If the process is killed or the disk is full, the previous content stays;
    with `durable`, it also survives a power cut. Flushing takes a few
    milliseconds. A `mode`, such as `PRIVATE`, is set whatever the umask.

    Raises:
        OSError: it cannot be written; the previous content stays. The error names the file.
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
    """Flush a file that was written in parts, and rename it to a path on the same disk.

    Raises `OSError`.
    """
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
    flush_folder(path.parent)


def append_private(path: Path) -> BinaryIO:
    """Open a file to append to it, unbuffered, and set its mode to `PRIVATE`. Raises `OSError`."""
    return open(path, "ab", buffering=0, opener=_opener(PRIVATE))


def private_folder(folder: Path) -> Path:
    """Make a folder that only its owner can read, or restrict an existing one; returns it.

    Missing parent folders are made in the same way; existing ones stay as they
    are. Raises `OSError`.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    return folder


def who_else_can_write(path: Path) -> str:
    """Why another user of this machine could change the file at a path, and what to do; "" if nobody can.

    The path and all its parent folders are checked, on both sides of symbolic
    links: whoever can write to a folder can replace what is in it, unless the
    folder is sticky, like /tmp. Always "" on Windows, which has no modes.
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
    """Hold a lock, across threads and processes, while a file is read and rewritten.

    The lock is a file that is created and stays; it is released when its
    holder ends, for whatever reason. Raises `OSError`.
    """
    with append_private(path) as file:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def keep_newest(folder: Path, most: int) -> None:
    """Remove all but the newest files and folders in a folder, by when they were last changed."""
    places = sorted(folder.iterdir(), key=lambda place: place.stat().st_mtime, reverse=True)
    for place in places[most:]:
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink()


def flush_folder(folder: Path) -> None:
    """Flush a folder's list of files to the disk; raises `OSError`."""
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _opener(mode: int | None) -> Callable[[str, int], int]:
    def opened(path: str, flags: int) -> int:
        file = os.open(path, flags, 0o666 if mode is None else mode)
        if mode is not None and sys.platform != "win32":
            # The umask may have cleared bits, and an existing file keeps its own mode.
            os.fchmod(file, mode)
        return file

    return opened


def append_line(file: Path, text: str) -> None:
    """Append a line and flush it to the disk, or leave the file as it was.

    An unfinished last line, left by a killed process, is cut off first.

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
    """The lines of a file written by `append_line`; none if there is no file.

    An unfinished last line, left by a killed process, is omitted: what it
    records has not happened.
    """
    if not file.is_file():
        return []
    whole = file.read_bytes().rpartition(b"\n")[0]
    return whole.split(b"\n") if whole else []


def _whole_lines(stream: BinaryIO) -> int:
    """Cut a file after its last whole line; returns its size."""
    size = stream.seek(0, os.SEEK_END)
    if not size:
        return 0
    stream.seek(size - 1)
    if stream.read(1) != b"\n":
        stream.seek(0)
        size = len(b"".join(stream.read().rpartition(b"\n")[:2]))
        stream.truncate(size)
    return size
