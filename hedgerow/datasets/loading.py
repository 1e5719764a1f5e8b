"""Data sets by name or by path."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hedgerow import checks, generators
from hedgerow.datasets.arrays import from_npz
from hedgerow.datasets.dataset import Dataset
from hedgerow.datasets.folder import from_folder
from hedgerow.datasets.own import as_dataset, find_function, is_own
from hedgerow.datasets.tables import from_csv, from_parquet
from hedgerow.registry import Registry
from hedgerow.rng import integer_seed
from hedgerow.wording import did_you_mean

DATASETS = Registry(
    "data set",
    "hedgerow.datasets",
    {
        "fashion-mnist": "hedgerow.datasets.fashion_mnist:load_fashion_mnist",
        "watch": "hedgerow.datasets.watch:load_watch",
        "shakespeare": "hedgerow.datasets.shakespeare:load_shakespeare",
        "heart-disease": "hedgerow.datasets.heart_disease:load_heart_disease",
        "mnist": "hedgerow.datasets.mnist:load_mnist",
        "fashion-mnist-full": "hedgerow.datasets.mnist:load_fashion_mnist_full",
        "cifar-10": "hedgerow.datasets.cifar:load_cifar_10",
        "own": "hedgerow.datasets.own_file:own",
    },
)

_KINDS: dict[str, Callable[..., Dataset]] = {
    ".npz": from_npz,
    ".csv": from_csv,
    ".parquet": from_parquet,
}


def load_dataset(name_or_path: str | Path, **options: Any) -> Dataset:
    """Load a data set by its name, or the user's own from a folder, a file or a function.

    Args:
        name_or_path: one of `DATASETS.names()`; or a folder with one folder of
            pictures for each class; or a `.npz`, `.csv` or `.parquet` file; or
            `"file.py:function"` or `"module:function"` (see `as_dataset`).
        options: for the loader of that name or kind, such as
            `label="disease"` for a table.

    Raises:
        ValueError: there is no such name, file or option.
        DataFileError: (a ValueError) a file is missing or damaged; the error
            names the file and the row.

    >>> load_dataset("heart-disease").train.x.shape
    (738, 29)
    """
    loader, arguments = find_loader(name_or_path)
    parameters = inspect.signature(loader).parameters
    taken = [p.name for p in parameters.values() if p.kind is not p.VAR_KEYWORD][len(arguments) :]
    takes_all = len(taken) + len(arguments) < len(parameters)
    for option in options:
        if option not in taken and not takes_all:
            listed = ", ".join(map(repr, taken)) or "none"
            raise ValueError(
                f"{option!r} is not an option of {str(name_or_path)!r}; allowed: {listed}."
                f"{did_you_mean(option, taken)}"
            )
    with generators.seeded(integer_seed(0, "data set")):
        return as_dataset(str(name_or_path), loader(*arguments, **options))


def find_loader(name_or_path: str | Path) -> tuple[Callable[..., Any], tuple[Path, ...]]:
    """The loader of a data set's name or path, and the arguments to call it with before any option.

    Raises:
        ValueError: there is no such name, folder or file.
    """
    path, names = checks.path(name_or_path=name_or_path), DATASETS.names()
    if str(name_or_path) in names:
        return DATASETS.get(str(name_or_path)), ()
    if is_own(str(name_or_path)) and not path.exists():
        return find_function(str(name_or_path)), ()
    if path.is_dir():
        return from_folder, (path,)
    if path.suffix.lower() in _KINDS:
        return _KINDS[path.suffix.lower()], (path,)
    if path.exists():
        raise ValueError(
            f"{path} is not a data set; give a folder of pictures, or a .npz, .csv or .parquet file"
        )
    raise ValueError(
        f"there is no data set {str(name_or_path)!r}; there is {', '.join(map(repr, names))}, and no"
        f" such file or folder.{did_you_mean(name_or_path, names)}"
    )
