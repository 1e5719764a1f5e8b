"""CSV and Parquet tables as data sets."""

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.datasets import targets
from hedgerow.datasets.arrays import from_arrays
from hedgerow.datasets.dataset import Dataset
from hedgerow.datasets.packing import DataFileError
from hedgerow.wording import did_you_mean

_LARGEST = float(np.finfo(np.float32).max)
_UNNAMED = re.compile(r"|Unnamed: \d+(\.\d+)*|__index_level_\d+__")  # as pandas writes and reads its index
_MISSING = {"nan", "na", "n/a", "null", "none", "?"}
_WHOLE = re.compile(r"^([+-]?\d+)\.0*$")


def from_csv(
    path: str | Path,
    *,
    label: str,
    client: str | None = None,
    task: str | None = None,
    test: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Make a data set from a CSV file: UTF-8, column names in the first row.

    Every column but `label` and `client` is a feature and holds a finite number in
    each row; features keep their order. Values are separated by commas, semicolons
    or tabs: whichever splits the first row so that `label` is one of its names.
    Blank lines are ignored, and so is the row number that pandas writes into an
    unnamed first column.

    Args:
        path: the file.
        label: name of the column with the class, any text, or with the number to predict.
        client: name of the column with the owner, any text: natural clients.
        task: `"classification"` or `"regression"`. By default, a column of numbers
            is to be predicted if `from_arrays` says so; otherwise its values are
            names of classes.
        test: fraction held out for testing, as in `from_arrays`.
        seed: of the hold-out.

    Raises:
        DataFileError: the file cannot be read, misses a column, or has a bad
            cell. The error names the file, the row (the first row, with the
            names, is row 1) and the column.
    """
    checks.kind(str, label=label)
    file = Path(path)
    rows = read_rows(file, label)
    names = [name.strip() for name in next(iter(rows.values()), [])]
    _check_names(file, names, label, client)
    places = list(rows)[1:]
    for number in places:
        if len(rows[number]) != len(names):
            raise DataFileError(
                f"{file}, row {number} has {len(rows[number])} cells; the first row has {len(names)}"
            )
    columns = {name: [rows[k][place].strip() for k in places] for place, name in enumerate(names)}
    features, note = _features(file, columns, label, client)
    for name, cells in columns.items():
        if "" in cells:
            empty = places[cells.index("")]
            raise DataFileError(
                f"{file}, row {empty}: column {name!r} is empty; fill it, or leave the row out"
            )
    x = np.array([_numbers(file, name, columns[name], places) for name in features], np.float32).T
    y = _targets(file, label, columns[label], places, task)
    return _dataset(file, x, y, columns.get(client or ""), test, seed, note)


def from_parquet(
    path: str | Path,
    *,
    label: str,
    client: str | None = None,
    task: str | None = None,
    test: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Make a data set from a Parquet file.

    As for `from_csv`, but rows are counted from 0. Features have a number or a
    boolean in each row.

    Raises:
        DataFileError: as for `from_csv`.
        ImportError: pyarrow is not installed; the error names the command.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as problem:
        raise ImportError('Parquet files need pyarrow: pip install "hedgerow[parquet]"') from problem
    checks.kind(str, label=label)
    file = Path(path)
    try:
        table = pyarrow.parquet.ParquetFile(file).read()
    except (OSError, pyarrow.ArrowException) as problem:
        raise DataFileError(f"{file} cannot be read as Parquet: {problem}") from problem
    _check_names(file, table.column_names, label, client)
    for name in table.column_names:
        empty = np.asarray(table[name].is_null())
        if empty.any():
            raise DataFileError(f"{file}, row {int(empty.argmax())} (from 0): column {name!r} is empty")
    unnamed = {
        name: table[name].to_pylist() if _UNNAMED.fullmatch(name) else () for name in table.column_names
    }
    features, note = _features(file, unnamed, label, client)
    x = np.stack([_plain_numbers(file, table, name) for name in features], axis=1)
    texts = {name: [str(v) for v in table[name].to_pylist()] for name in (label, client) if name}
    y = _targets(file, label, texts[label], range(len(x)), task)
    return _dataset(file, x, y, texts.get(client or ""), test, seed, note)


def read_rows(file: Path, label: str) -> dict[int, list[str]]:
    """The cells of each row with a value, by row number; the label's name determines the delimiter."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as problem:
        raise DataFileError(f"{file} cannot be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise DataFileError(
            f"{file} cannot be read as CSV in UTF-8 ({problem}); save it as UTF-8"
        ) from problem
    mark = max(",;\t", key=lambda mark: _fits(text, mark, label))
    try:
        return dict(_parted(text, mark))
    except csv.Error as problem:
        raise DataFileError(f"{file} cannot be read as CSV: {problem}") from problem


def _parted(text: str, mark: str) -> Iterator[tuple[int, list[str]]]:
    stream = io.StringIO(text, newline="")
    rows = csv.reader(stream, strict=True, delimiter=mark, skipinitialspace=True)
    return ((number, row) for number, row in enumerate(rows, start=1) if any(map(str.strip, row)))


def _fits(text: str, mark: str, label: str) -> tuple[bool, int]:
    """Whether a delimiter splits the first row so that the label is one of its names; and their number."""
    try:
        _, names = next(_parted(text, mark), (0, []))
    except csv.Error:
        return False, 0
    return label in map(str.strip, names), len(names)


def _check_names(file: Path, names: Sequence[str], label: str, client: str | None) -> None:
    for name in (label, client):
        if name is not None and name not in names:
            listed = ", ".join(map(repr, names)) or "none"
            raise DataFileError(f"{file} has no column {name!r}; it has {listed}.{did_you_mean(name, names)}")
    double = [name for name in names if list(names).count(name) > 1]
    if double:
        raise DataFileError(f"{file} has two columns {double[0]!r}; give each its own name")


def _features(
    file: Path, columns: Mapping[str, Sequence[Any]], label: str, client: str | None
) -> tuple[list[str], str]:
    """The columns that are features, and a note about one left out: the row numbers that pandas writes."""
    features = [name for name in columns if name not in (label, client)]
    unnamed = [name for name in features if _UNNAMED.fullmatch(name)]
    for name in unnamed:
        cells = [str(cell) for cell in columns[name]]
        if not all(re.fullmatch(r"\d+", cell) for cell in cells) or len(set(cells)) < len(cells):
            raise DataFileError(f"{file} has a column without a name ({name!r}); name it, or leave it out")
        features.remove(name)
    if not features:
        raise DataFileError(f"{file} has no column besides the label and the client; it needs a feature")
    listed = " and ".join(map(repr, unnamed))
    return features, f"column {listed}, the number of the row, is left out" if unnamed else ""


def _numbers(file: Path, name: str, cells: Sequence[str], places: Sequence[int]) -> list[float]:
    numbers = [as_number(cell) for cell in cells]
    for place, cell, number in zip(places, cells, numbers, strict=True):
        if not abs(number) <= _LARGEST:
            comma = "; write decimals with a point" if "," in cell else ""
            raise DataFileError(
                f"{file}, row {place}: column {name!r} is {cell!r}; it must be a finite number{comma}"
            )
    return numbers


def as_number(cell: str) -> float:
    """The number in a cell; NaN if it holds none."""
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _is_no_number(cell: str) -> bool:
    """Whether a cell stands for a missing or infinite number."""
    return cell.casefold() in _MISSING or math.isinf(as_number(cell))


def _targets(
    file: Path, name: str, cells: Sequence[str], places: Sequence[int], task: str | None
) -> NDArray[Any]:
    """Numbers to predict, `(n,) float64`, or names of classes."""
    if task is not None:
        checks.one_of(targets.TASKS, task=task)
    known = [math.isfinite(as_number(cell)) for cell in cells]
    others = {cell for cell, is_number in zip(cells, known, strict=True) if not is_number}
    missing = any(known) and bool(others) and all(map(_is_no_number, others))
    with_points = [as_number(cell.replace(",", ".")) for cell in cells]
    if task is None and others and not missing and np.isfinite(with_points).all():
        row = known.index(False)
        raise DataFileError(
            f"{file}, row {places[row]}: column {name!r} is {cells[row]!r}; write decimals with a point,"
            " or say task='classification' if these are names of classes"
        )
    numeric = bool(cells) and all(known)
    continuous = numeric and targets.is_continuous(np.array(cells, np.float64))
    if task == "regression" or (task is None and (missing or continuous)):
        return np.array(_numbers(file, name, cells, places), np.float64)
    # One class may be written as 1 and as 1.0.
    return np.array([_WHOLE.sub(r"\1", cell) for cell in cells] if numeric else cells, str)


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
    file: Path,
    x: NDArray[np.float32],
    y: NDArray[Any],
    owners: Sequence[str] | None,
    test: float,
    seed: int,
    note: str,
) -> Dataset:
    if not len(x):
        raise DataFileError(f"{file} has no row of data")
    numbers = y.dtype.kind == "f"
    kind: dict[str, Any] = (
        {"task": "regression"} if numbers else {"classes": sorted(set(y.tolist()), key=_numbers_first)}
    )
    try:
        made = from_arrays(x, y, test=test, clients=owners, seed=seed, name=file.stem, **kind)
    except ValueError as problem:
        raise DataFileError(f"{file}: {problem}") from problem
    return replace(made, note=note)


def _numbers_first(label: str) -> tuple[float, str]:
    """A sort key that puts `2` before `10`, and numbers before words."""
    try:
        return (float(label), label)
    except ValueError:
        return (math.inf, label)
