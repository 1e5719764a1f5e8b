"""A device's own file, checked against the recipe's schema."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.datasets.arrays import read_npz
from hedgerow.datasets.dataset import Dataset
from hedgerow.datasets.folder import class_folders, picture_files, read_picture
from hedgerow.datasets.packing import DataFileError
from hedgerow.datasets.tables import as_number, read_rows
from hedgerow.recipe.own_data import WITHIN, DoesNotFit, OwnSchema
from hedgerow.types import Samples
from hedgerow.wording import did_you_mean


def load_own(path: str | Path, schema: OwnSchema) -> Samples:
    """The samples of a CSV table, a `.npz` file with `x` and `y`, or a folder of pictures for each class.

    Returns:
        `x` is `(n, *schema.input_shape) float32`, `y` `(n,)`: int64 classes, or float32 numbers.

    Raises:
        DoesNotFit: (a ValueError) a column is missing, a label unknown, a value out of range, or there
            are no rows; the error names the file, the place and what is allowed.
        DataFileError: (a ValueError) the file cannot be read.
    """
    file = Path(path)
    if file.is_dir():
        samples = _pictures(file, schema)
    elif file.suffix == ".npz":
        samples = _arrays(file, schema)
    elif file.suffix == ".csv":
        samples = _table(file, schema)
    else:
        raise _unreadable(file, "a folder with one folder of pictures for each class")
    if not len(samples):
        raise DoesNotFit(f"{file} has no row of data")
    return samples


@dataclass(frozen=True)
class Inputs:
    """Samples without targets.

    Attributes:
        x: `(n, *schema.input_shape) float32`.
        kind: of the samples' places: `"row"` of a table, `"index"` of an array, or `"file"`.
        places: one for each sample; a table's first row, with the names, is row 1.
    """

    x: NDArray[np.float32]
    kind: str
    places: tuple[str, ...]


def load_inputs(path: str | Path, schema: OwnSchema) -> Inputs:
    """The inputs in a file as for `load_own`; labels are not needed, and are ignored.

    Pictures may be in the folder itself.

    Raises:
        DoesNotFit: (a ValueError) as `load_own`.
        DataFileError: (a ValueError) the file cannot be read.
    """
    file = Path(path)
    if file.is_dir():
        flat = not any(place.is_dir() for place in file.iterdir())
        pictures = picture_files(file) if flat else _class_pictures(file)
        inputs = Inputs(
            _checked(file, _pixels(file, pictures, schema), schema), "file",
            tuple(str(each.relative_to(file)) for each in pictures),
        )  # fmt: skip
    elif file.suffix == ".npz":
        x = _array(file, read_npz(file), schema)
        inputs = Inputs(_checked(file, x, schema), "index", tuple(map(str, range(len(x)))))
    elif file.suffix == ".csv":
        table = _cells(file, schema, schema.columns)
        inputs = Inputs(_features(file, table, schema), "row", tuple(map(str, table)))
    else:
        raise _unreadable(file, "a folder of pictures")
    if not len(inputs.x):
        raise DoesNotFit(f"{file} has no row of data")
    return inputs


def _unreadable(file: Path, folder: str) -> DataFileError:
    return DataFileError(
        f"{file} {'cannot be read as data' if file.exists() else 'does not exist'}; give a .csv or .npz file,"
        f" or {folder}"
    )


def own(
    columns: tuple[str, ...] = (),
    label: str = "label",
    classes: tuple[str, ...] = (),
    shape: tuple[int, ...] = (),
    shift: tuple[float, ...] = (),
    scale: tuple[float, ...] = (),
    lowest: tuple[float, ...] = (),
    highest: tuple[float, ...] = (),
    files: tuple[str, ...] = (),
    test_file: str = "",
) -> Dataset:
    """Data of which each device has its own: a schema, and in a simulation also the devices' files.

    Args:
        columns, label, classes, shape, shift, scale, lowest, highest: of `OwnSchema`.
        files: one for each simulated device, which is named after its file, without the ending.
        test_file: on which the server evaluates the model; optional.

    Raises:
        ValueError: there are no files, because only devices have the data; or one does not fit.
    """
    schema = OwnSchema(columns, label, classes, shape, shift, scale, lowest, highest)
    if not files:
        raise ValueError(
            "data 'own' is on the devices, not here: give the devices' files,"
            ' data.files=["a.csv", "b.csv"], to simulate them'
        )
    names = tuple(Path(file).stem for file in files)
    if len(set(names)) < len(names):
        raise ValueError(f"files are {list(files)}; their names without the ending must be distinct")
    parts = [load_own(file, schema) for file in files]
    train = Samples(np.concatenate([part.x for part in parts]), np.concatenate([part.y for part in parts]))
    owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    held = test_samples(test_file, schema)
    return Dataset("own", train, held, schema.classes, owners, names, source="the devices' own data")


def test_samples(file: str, schema: OwnSchema) -> Samples:
    """The samples on which the server evaluates the model; none if there is no file."""
    if file:
        return load_own(file, schema)
    empty = np.zeros(0, np.int64 if schema.classes else np.float32)
    return Samples(np.zeros((0, *schema.input_shape), np.float32), empty)


def _table(file: Path, schema: OwnSchema) -> Samples:
    table = _cells(file, schema, (*schema.columns, schema.label))
    labels = [row[-1] for row in table.values()]
    where = [f"{file}, row {number}: column {schema.label!r}" for number in table]
    return Samples(_features(file, table, schema), _labels(labels, schema, where))


def _cells(file: Path, schema: OwnSchema, wanted: Sequence[str]) -> dict[int, list[str]]:
    """The cells of these columns, by row number; the last column's name determines the delimiter."""
    if not schema.columns:
        raise DoesNotFit(f"{file} is a table, but the schema names no columns; give a .npz file, or pictures")
    rows = read_rows(file, wanted[-1])
    names = [name.strip() for name in next(iter(rows.values()), [])]
    for name in wanted:
        if name not in names:
            listed = ", ".join(map(repr, names)) or "none"
            raise DoesNotFit(f"{file} has no column {name!r}; it has {listed}.{did_you_mean(name, names)}")
        if names.count(name) > 1:
            raise DoesNotFit(f"{file} has two columns {name!r}; give each its own name")
    places = [names.index(name) for name in wanted]
    numbers = list(rows)[1:]
    for number in numbers:
        if len(rows[number]) != len(names):
            raise DoesNotFit(
                f"{file}, row {number} has {len(rows[number])} cells; the first row has {len(names)}"
            )
    return {number: [rows[number][place].strip() for place in places] for number in numbers}


def _features(file: Path, table: Mapping[int, Sequence[str]], schema: OwnSchema) -> NDArray[np.float32]:
    """The inputs of a table whose first columns are the schema's."""
    size, numbers = len(schema.columns), list(table)
    values = np.array([[as_number(cell) for cell in row[:size]] for row in table.values()], np.float64)
    values = values.reshape(len(table), size)
    if (wrong := schema.out_of_range(values)) is not None:
        row, column = wrong
        raise DoesNotFit(
            f"{file}, row {numbers[row]}: column {schema.columns[column]!r} is"
            f" {table[numbers[row]][column]!r}; it must be {schema.allowed(column)}"
        )
    return schema.prepare(values)


def _arrays(file: Path, schema: OwnSchema) -> Samples:
    arrays = read_npz(file)
    x, y = _array(file, arrays, schema), _named(file, arrays, "y")
    if y.shape != x.shape[:1]:
        raise DoesNotFit(f"{file} has {len(x)} samples and y {y.shape}; y must be ({len(x)},)")
    where = [f"{file}: y[{row}]" for row in range(len(y))]
    return Samples(_checked(file, x, schema), _labels(y.tolist(), schema, where))


def _array(file: Path, arrays: Mapping[str, NDArray[Any]], schema: OwnSchema) -> NDArray[np.float64]:
    """The inputs in a `.npz` file, before shift and scale."""
    x = _named(file, arrays, "x")
    if x.shape[1:] != schema.input_shape or x.dtype.kind not in "biuf":
        wanted = f"(n, {', '.join(map(str, schema.input_shape))})"
        raise DoesNotFit(f"{file} has x {x.dtype} {x.shape}; it must be numbers {wanted}")
    return x.astype(np.float64)


def _named(file: Path, arrays: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    if name not in arrays:
        raise DoesNotFit(f"{file} misses {name!r}; it holds {', '.join(map(repr, arrays)) or 'nothing'}")
    return arrays[name]


def _pictures(folder: Path, schema: OwnSchema) -> Samples:
    files = _class_pictures(folder)
    pixels = _pixels(folder, files, schema)
    targets = _labels([file.parent.name for file in files], schema, list(map(str, files)))
    return Samples(_checked(folder, pixels, schema), targets)


def _class_pictures(folder: Path) -> list[Path]:
    """The pictures in the folders of the classes."""
    return [file for name in class_folders(folder) for file in picture_files(folder / name)]


def _pixels(folder: Path, files: Sequence[Path], schema: OwnSchema) -> NDArray[np.float64]:
    """The pictures in the schema's shape, from 0 to 1."""
    channels, height, width = schema.input_shape if len(schema.input_shape) == 3 else (0, 0, 0)
    if channels not in (1, 3):
        raise DoesNotFit(
            f"{folder} is a folder of pictures, but a sample's shape is {schema.input_shape}; pictures have"
            " (1 or 3, height, width)"
        )
    pictures = np.empty((len(files), *schema.input_shape), np.float64)
    for place, file in enumerate(files):
        picture = read_picture(file)
        if picture.size != (width, height):
            raise DoesNotFit(
                f"{file} has {picture.size[0]} x {picture.size[1]} pixels; it must have {width} x {height}"
            )
        pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"), np.float64)
        pictures[place] = pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
    return pictures / 255


def _checked(file: Path, values: NDArray[np.float64], schema: OwnSchema) -> NDArray[np.float32]:
    if (wrong := schema.out_of_range(values)) is not None:
        raise DoesNotFit(f"{file}: x{list(wrong)} is {values[wrong]:g}; it must be {schema.allowed()}")
    return schema.prepare(values)


def _labels(given: Sequence[object], schema: OwnSchema, where: Iterable[str]) -> NDArray[np.generic]:
    """Each label as a class, or as a number if there are no classes."""
    if not schema.classes:
        numbers = [as_number(str(each)) for each in given]
        with np.errstate(over="ignore"):
            values = np.array(numbers, np.float32)
        for value, each, place in zip(values, given, where, strict=True):
            if not np.isfinite(value):
                raise DoesNotFit(f"{place} is {each!r}; it must be a finite number {WITHIN}")
        return values
    places: dict[str, int] = {name: place for place, name in enumerate(schema.classes)}
    found = [places.get(str(each), _place(each, schema)) for each in given]
    for each, code, place in zip(given, found, where, strict=True):
        if code < 0:
            listed = ", ".join(map(repr, schema.classes))
            raise DoesNotFit(
                f"{place} is {each!r}; it must be one of {listed}.{did_you_mean(str(each), schema.classes)}"
            )
    return np.array(found, np.int64)


def _place(label: object, schema: OwnSchema) -> int:
    """The class of a label that is its number, as in arrays; -1 if it is not one."""
    return int(label) if checks.is_whole(label) and 0 <= label < len(schema.classes) else -1
