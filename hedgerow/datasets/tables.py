"""CSV and Parquet tables as data sets."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hedgerow.checks import did_you_mean
from hedgerow.datasets.arrays import from_arrays
from hedgerow.datasets.dataset import Dataset
from hedgerow.datasets.packing import DataFileError

_LARGEST = float(np.finfo(np.float32).max)


def from_csv(
    path: str | Path, *, label: str, client: str | None = None, test: float = 0.2, seed: int = 0
) -> Dataset:
    """Make a data set of a CSV file: commas, UTF-8, column names in the first row.

    Every column but `label` and `client` is a feature and holds a finite
    number in each row; features keep their order.

    Args:
        path: the file.
        label: name of the column with the class, any text.
        client: name of the column with the owner, any text: natural clients.
        test: fraction held out for testing, as in `from_arrays`.
        seed: of the hold-out.

    Raises:
        DataFileError: the file cannot be read, misses a column, or has a bad
            cell. The error names the file, the row (the first row, with the
            names, is row 1) and the column.
    """
    file = Path(path)
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.reader(stream, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise DataFileError(f"{file} cannot be read as CSV in UTF-8: {problem}") from problem
    names = rows[0] if rows else []
    features = _features(file, names, label, client)
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(names):
            raise DataFileError(f"{file}, row {number} has {len(row)} cells; the first row has {len(names)}")
    columns = {name: [row[k].strip() for row in rows[1:]] for k, name in enumerate(names)}
    for name, cells in columns.items():
        if "" in cells:
            empty = cells.index("") + 2
            raise DataFileError(
                f"{file}, row {empty}: column {name!r} is empty; fill it, or leave the row out"
            )
    x = np.array([_numbers(file, name, columns[name]) for name in features], np.float32).T
    return _dataset(file, x, columns[label], columns.get(client or ""), test, seed)


def from_parquet(
    path: str | Path, *, label: str, client: str | None = None, test: float = 0.2, seed: int = 0
) -> Dataset:
    """Make a data set of a Parquet file.

    As `from_csv`; rows are counted from 0. Features have a number or a truth
    value in each row.

    Raises:
        DataFileError: as `from_csv`.
        ImportError: pyarrow is not installed; the error names the command.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as problem:
        raise ImportError('Parquet files need pyarrow: pip install "hedgerow[parquet]"') from problem
    file = Path(path)
    try:
        table = pyarrow.parquet.ParquetFile(file).read()
    except (OSError, pyarrow.ArrowException) as problem:
        raise DataFileError(f"{file} cannot be read as Parquet: {problem}") from problem
    features = _features(file, table.column_names, label, client)
    for name in table.column_names:
        empty = np.asarray(table[name].is_null())
        if empty.any():
            raise DataFileError(f"{file}, row {int(empty.argmax())} (from 0): column {name!r} is empty")
    x = np.stack([_plain_numbers(file, table, name) for name in features], axis=1)
    texts = {name: [str(v) for v in table[name].to_pylist()] for name in (label, client) if name}
    return _dataset(file, x, texts[label], texts.get(client or ""), test, seed)


def _features(file: Path, names: Sequence[str], label: str, client: str | None) -> list[str]:
    for name in (label, client):
        if name is not None and name not in names:
            listed = ", ".join(map(repr, names)) or "none"
            raise DataFileError(f"{file} has no column {name!r}; it has {listed}.{did_you_mean(name, names)}")
    double = [name for name in names if list(names).count(name) > 1]
    if double:
        raise DataFileError(f"{file} has two columns {double[0]!r}; give each a name of its own")
    features = [name for name in names if name not in (label, client)]
    if not features:
        raise DataFileError(f"{file} has no column beside the label and the client; it needs a feature")
    return features


def _numbers(file: Path, name: str, cells: list[str]) -> list[float]:
    numbers = []
    for number, cell in enumerate(cells, start=2):
        try:
            numbers.append(float(cell))
        except ValueError:
            numbers.append(math.nan)
        if not abs(numbers[-1]) <= _LARGEST:
            raise DataFileError(
                f"{file}, row {number}: column {name!r} is {cell!r}; it must be a finite number"
            )
    return numbers


def _plain_numbers(file: Path, table: Any, name: str) -> NDArray[np.float32]:
    import pyarrow.types as kinds

    kind = table[name].type
    if not (kinds.is_boolean(kind) or kinds.is_integer(kind) or kinds.is_floating(kind)):
        raise DataFileError(f"{file}: column {name!r} has the type {kind}; it must be numbers")
    with np.errstate(over="ignore"):
        values = np.asarray(table[name]).astype(np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        row = int(finite.argmin())
        raise DataFileError(
            f"{file}, row {row} (from 0): column {name!r} is {table[name][row]}; it must be a finite number"
        )
    return values


def _dataset(
    file: Path, x: NDArray[np.float32], labels: list[str], owners: list[str] | None, test: float, seed: int
) -> Dataset:
    if not len(x):
        raise DataFileError(f"{file} has no row of data")
    classes = sorted(set(labels), key=_numbers_first)
    try:
        return from_arrays(
            x, np.array(labels), test=test, classes=classes, clients=owners, seed=seed, name=file.stem
        )
    except ValueError as problem:
        raise DataFileError(f"{file}: {problem}") from problem


def _numbers_first(label: str) -> tuple[float, str]:
    """Sorts `2` before `10`, and numbers before words."""
    try:
        return (float(label), label)
    except ValueError:
        return (math.inf, label)
