"""A folder of pictures as a data set."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hedgerow.datasets.arrays import from_arrays
from hedgerow.datasets.dataset import Dataset
from hedgerow.datasets.packing import DataFileError


def from_folder(path: str | Path, *, test: float = 0.2, seed: int = 0) -> Dataset:
    """Make a data set from a folder that has one folder of pictures for each class.

    If the folder holds `train` and `test`, these hold the folders of the
    classes. Else a fraction of each class is held out for testing.

    Pictures are any that Pillow reads, all of the same size. They are grey if all
    are; if one has colour, all become RGB, without transparency. Files whose name
    starts with a dot are ignored.

    Args:
        path: the folder.
        test: fraction of each class that is held out, if there is no `test`.
        seed: of the hold-out.

    Raises:
        DataFileError: a folder is empty, or a file is not a picture or differs in size
            from the first; the error names it.
    """
    root = Path(path)
    if not root.is_dir():
        raise DataFileError(f"{root} is not a folder")
    parts = [root / "train", root / "test"]
    if not all(part.is_dir() for part in parts):
        parts = [root]
    classes = class_folders(parts[0])
    files = [[(c, f) for c in _known(part, classes) for f in picture_files(part / c)] for part in parts]
    pictures = _read([file for group in files for _, file in group])
    labels = np.array([c for group in files for c, _ in group])
    try:
        if len(parts) == 1:
            return from_arrays(pictures, labels, test=test, classes=classes, seed=seed, name=root.name)
        n = len(files[0])
        own = (pictures[n:], labels[n:])
        return from_arrays(pictures[:n], labels[:n], test=own, classes=classes, name=root.name)
    except ValueError as problem:
        raise DataFileError(f"{root}: {problem}") from problem


def class_folders(folder: Path) -> list[str]:
    """The names of the classes; raises `DataFileError` if there is none, or a stray file."""
    classes = sorted(entry.name for entry in _entries(folder) if entry.is_dir())
    loose = [entry for entry in _entries(folder) if not entry.is_dir()]
    if loose:
        raise DataFileError(f"{loose[0]} is not in the folder of a class; put each file into one")
    if not classes:
        raise DataFileError(f"{folder} is empty; it must hold one folder of pictures for each class")
    return classes


def _known(part: Path, classes: list[str]) -> list[str]:
    found = class_folders(part)
    for name in found:
        if name not in classes:
            raise DataFileError(f"{part / name} is a class that the training pictures do not have: {classes}")
    return found


def picture_files(folder: Path) -> list[Path]:
    """The files of a class; raises `DataFileError` if there is none."""
    files = sorted(_entries(folder))
    if not files:
        raise DataFileError(f"{folder} is empty; a class needs at least one picture")
    return files


def _entries(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]


def _read(files: list[Path]) -> NDArray[np.uint8]:
    """All pictures, `(n, 1 or 3, height, width) uint8`; nothing is returned unless every one is good."""
    pictures = [read_picture(file) for file in files]
    first = pictures[0].size
    for file, picture in zip(files, pictures, strict=True):
        if picture.size != first:
            raise DataFileError(
                f"{file} has {picture.size[0]} x {picture.size[1]} pixels and {files[0]} has {first[0]} x"
                f" {first[1]}; all pictures must have the same size"
            )
    if all(picture.mode == "L" for picture in pictures):
        return np.stack([np.asarray(picture)[None] for picture in pictures])
    return np.stack([np.asarray(picture.convert("RGB")).transpose(2, 0, 1) for picture in pictures])


def read_picture(file: Path) -> Any:
    """The picture in a file, with mode `L` (grey) or `RGB`."""
    from PIL import Image

    try:
        with Image.open(file) as picture:
            if picture.mode.startswith(("I", "F")):
                raise DataFileError(f"{file} has more than 8 bits a pixel; save it with 8 bits")
            return picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB")
    except DataFileError:
        raise
    except Exception as problem:  # each of Pillow's decoders has its own errors
        raise DataFileError(f"{file} is not a picture that can be read: {problem}") from problem
