"""Files that are fetched once, checked, and kept in a cache folder."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hedgerow.datasets.packing import DataFileError

CACHE_VARIABLE = "HEDGEROW_DATA"


@dataclass(frozen=True)
class Archive:
    """Files of one data set on the web.

    Attributes:
        folder: its folder inside the cache.
        mirrors: addresses, each ending in `/`, that hold every file; tried in order.
        sha256: hash of each file, by name.
    """

    folder: str
    mirrors: tuple[str, ...]
    sha256: Mapping[str, str]

    def path(self, file: str) -> Path:
        """The path of a file on this machine, which is fetched if needed.

        An existing file is checked and never overwritten.

        Raises:
            DataFileError: the file is damaged, or is missing and cannot be fetched.
                The error says where to get it, what its hash must be and where to
                put it.
        """
        place = cache_folder() / self.folder / file
        if place.exists():
            _check_hash(place, self.sha256[file])
        else:
            self._fetch(file, place)
        return place

    def _fetch(self, file: str, place: Path) -> None:
        import pooch

        problems = []
        for mirror in self.mirrors:
            try:
                pooch.retrieve(mirror + file, f"sha256:{self.sha256[file]}", place.name, place.parent)
                return
            except (OSError, ValueError) as problem:  # no network, disk full, another file
                problems.append(f"{mirror + file}\n    {type(problem).__name__}: {problem}")
        tried = "\n  ".join(problems)
        raise DataFileError(
            f"{place} does not exist and could not be fetched from\n  {tried}\n"
            f"Put {file} (SHA-256 {self.sha256[file]}) into the folder {place.parent}, or set"
            f" {CACHE_VARIABLE} to a folder that holds {self.folder}/{file}"
        )


def cache_folder() -> Path:
    """The folder for fetched files: `HEDGEROW_DATA`, or the user's cache folder."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given).expanduser()
    import pooch

    return Path(pooch.os_cache("hedgerow"))


def _check_hash(place: Path, sha256: str) -> None:
    try:
        with place.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as problem:
        raise DataFileError(f"{place} cannot be read: {problem}") from problem
    if found != sha256:
        raise DataFileError(
            f"{place} is damaged: its SHA-256 is {found}; it must be {sha256}. Delete it, and it"
            " will be fetched again"
        )
