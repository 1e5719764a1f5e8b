"""Write a file so that it is there whole or not at all."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

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


def write_whole(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write beside the file, flush to the disk, and rename.

    A process killed at any moment, or a full disk, leaves what was there; so
    does a power cut, where the write is durable. Flushing takes some
    milliseconds.

    Raises:
        OSError: it cannot be written; what was there stays. The error names the file.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        with naming(path), partial.open("wb") as file:
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
