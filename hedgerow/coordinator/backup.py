"""A federation in one file, to continue elsewhere: keys, members, register, and the current run.

It can be made while the federation runs. A restored run continues after the last
round saved in it. Devices that have already answered later masked rounds refuse
them; those rounds fail by name, and the run continues.
"""

import io
import json
import os
import sqlite3
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from hedgerow import locks
from hedgerow.coordinator import mail, page, presence, processes
from hedgerow.coordinator.folder import FederationError, FederationFolder
from hedgerow.coordinator.side_runs import FOLDER as SIDE_RUNS
from hedgerow.files import PRIVATE, append_private, private_folder, write_whole
from hedgerow.promotion.shelf import MODELS

_FEDERATION, _RUN, _ABOUT, _DATABASE = "federation", "run", "hedgerow-backup.json", "link.db"
_LEFT_OUT = {mail.FOLDER, page.FILE, presence.FILE, processes.FILE, SIDE_RUNS, "job.json", "logs"}
_MOMENTARY = (".lock", ".partial", ".beat")
_FIRST = ("checkpoints", "model.safetensors")
"""Files of a run: the model before its ledger, which may then cover more rounds, never fewer."""


def backup(folder: FederationFolder, file: Path) -> list[str]:
    """Write a federation, and its current run, to a file private to its owner; returns what is in it.

    Raises:
        OSError: it cannot be written.
        FederationError: the federation cannot be read.
    """
    run, partial = folder.read("job.json", {}).get("run"), file.with_name(f"{file.name}.partial")
    partial.unlink(missing_ok=True)
    with append_private(partial) as stream, tarfile.open(fileobj=stream, mode="w") as archive:
        about = {"hedgerow": "0.1", "federation": folder.settings.federation, "at": round(time.time())}
        _add(archive, _ABOUT, json.dumps(about).encode())
        for place in _kept(folder.path):
            name = str(place.relative_to(folder.path))
            data = _database(place) if name == _DATABASE else place.read_bytes()
            _add(archive, f"{_FEDERATION}/{name}", data)
        for place in _of_run(Path(run)) if run else ():
            try:
                _add(archive, f"{_RUN}/{place.relative_to(run)}", place.read_bytes())
            except FileNotFoundError:  # a checkpoint that the next one has just replaced
                continue
    os.replace(partial, file)
    return [_FEDERATION, *([_RUN] if run else [])]


def restore(file: Path, federation: Path, run: Path) -> FederationFolder:
    """Restore the folders of a federation and its run from a backup; neither may exist.

    Raises:
        FederationError: a folder exists, or the file is not a backup.
        OSError: they cannot be written.
    """
    for place in (federation, run):
        if place.exists():
            raise FederationError(f"{place} already exists; restore to folders that do not")
    try:
        with tarfile.open(file) as archive:
            names = archive.getnames()
            if _ABOUT not in names or not any(name.startswith(f"{_FEDERATION}/") for name in names):
                raise FederationError(f"{file} is not a backup of a federation")
            for member in archive:
                top, _, rest = member.name.partition("/")
                target = {_FEDERATION: federation, _RUN: run}.get(top)
                if target is not None and member.isfile() and not {"..", ""} & set(rest.split("/")):
                    place = target / rest
                    private_folder(place.parent)
                    content = archive.extractfile(member)
                    assert content is not None
                    write_whole(place, content.read(), mode=PRIVATE)
    except tarfile.TarError as error:
        raise FederationError(f"{file} is not a backup of a federation: {error}") from error
    return FederationFolder.make(federation)


def _kept(folder: Path) -> Iterator[Path]:
    # The promotions before the models, because a model exists before its promotion is recorded.
    for place in sorted(folder.rglob("*"), key=lambda each: (each.parent.name == MODELS, each)):
        top = place.relative_to(folder).parts[0]
        if _stays(place) and top not in _LEFT_OUT and not top.startswith(f"{_DATABASE}-"):
            yield place


def _of_run(run: Path) -> list[Path]:
    there = sorted(filter(_stays, run.rglob("*")))
    return sorted(there, key=lambda place: place.relative_to(run).parts[0] not in _FIRST)


def _stays(place: Path) -> bool:
    """Whether a file outlives the process: not a lock, or who holds it."""
    return place.is_file() and place.name != locks.FILE and place.suffix not in _MOMENTARY


def _database(file: Path) -> bytes:
    """A consistent copy of a database, even while it is written to."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as there:
        return there.serialize()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size, about.mode, about.mtime = len(data), PRIVATE, round(time.time())
    archive.addfile(about, io.BytesIO(data))
