"""The user's own arrays as a data set."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hedgerow import checks
from hedgerow.datasets.dataset import Dataset
from hedgerow.datasets.fashion_mnist import scaled
from hedgerow.datasets.packing import DataFileError
from hedgerow.rng import generator
from hedgerow.types import Samples

HoldOut: TypeAlias = float | tuple[ArrayLike, ArrayLike]


def from_arrays(
    x: ArrayLike,
    y: ArrayLike,
    *,
    test: HoldOut = 0.2,
    classes: Sequence[str] | None = None,
    clients: Sequence[Any] | None = None,
    seed: int = 0,
    name: str = "arrays",
) -> Dataset:
    """Make a data set of arrays.

    Args:
        x: `(n, ...)`. Pictures are `(n, channels, height, width)`, or
            `(n, height, width)` for grey ones, as uint8. uint8 is divided by
            255; other whole numbers are codes (of characters, say) and become
            int64; the rest becomes float32.
        y: `(n,)`, the class of each sample: a whole number or a text.
        test: test samples as `(x, y)`, or the fraction of the samples that is
            held out for testing. It is held out of each client where there
            are clients, rounded down; else of each class, rounded down, and at
            least one sample of it.
        classes: names of the classes, where `y` is numbers from 0; in another
            case the classes are the different values of `y`, sorted.
        clients: `(n,)`, whose each sample is: a text or a number, the stable
            name of a natural client.
        seed: of the hold-out.
        name: of the data set.

    Raises:
        ValueError: sizes do not fit, a number is not finite, a class has too
            few samples, or a label has no class. Rows are counted from 0.

    >>> d = from_arrays(np.zeros((10, 3)), ["no", "yes"] * 5, test=0.4)
    >>> len(d.train), len(d.test), d.classes
    (6, 4, ('no', 'yes'))
    """
    values, labels = _values("x", x), np.asarray(y)
    _check_rows("y", labels, len(values))
    owners = None if clients is None else _owners(clients, len(values))
    known = _classes(labels, classes)
    samples = Samples(values, _codes("y", labels, known, classes is None))
    if isinstance(test, tuple):
        test_values, test_labels = _values("test x", test[0]), np.asarray(test[1])
        _check_rows("test y", test_labels, len(test_values))
        train, places = samples, np.arange(len(values))
        held_out = Samples(test_values, _codes("test y", test_labels, known, classes is None))
    else:
        places, others = _hold_out(samples.y, known, owners, test, seed)
        train, held_out = samples.take(places), samples.take(others)
    people, natural = (), None
    if owners is not None:
        found, codes = np.unique(owners[places], return_inverse=True)
        people, natural = tuple(found.tolist()), codes.astype(np.int64)
    return Dataset(name, train, held_out, known, natural, people, source="the user's own data")


def from_npz(
    path: str | Path,
    *,
    test: float = 0.2,
    classes: Sequence[str] | None = None,
    seed: int = 0,
) -> Dataset:
    """Make a data set of a `.npz` file.

    The file holds `x` and `y`, or `x_train`, `y_train`, `x_test` and `y_test`;
    and `clients` if the training samples have owners. What they may be is said
    at `from_arrays`. Nothing in it is unpickled.

    Raises:
        DataFileError: the file cannot be read, misses an array, or holds a bad
            value; the error names the file and the row, counted from 0.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as problem:
        raise DataFileError(f"{file} cannot be read as a .npz file of plain arrays: {problem}") from problem
    split = "x_train" in arrays
    needed = ("x_train", "y_train", "x_test", "y_test") if split else ("x", "y")
    missing = [key for key in needed if key not in arrays]
    if missing:
        held = ", ".join(map(repr, arrays)) or "nothing"
        raise DataFileError(f"{file} misses {', '.join(map(repr, missing))}; it holds {held}")
    rest: HoldOut = (arrays["x_test"], arrays["y_test"]) if split else test
    owners = arrays.get("clients")
    try:
        x, y = (arrays[key] for key in needed[:2])
        return from_arrays(x, y, test=rest, classes=classes, clients=owners, seed=seed, name=file.stem)
    except ValueError as problem:
        raise DataFileError(f"{file}: {problem}") from problem


def _values(what: str, x: ArrayLike) -> NDArray[Any]:
    values = np.asarray(x)
    if values.dtype.kind not in "biuf" or values.ndim < 2 or not len(values):
        raise ValueError(
            f"{what} has the type {values.dtype} and the shape {values.shape}; it must be numbers,"
            " (n, ...), and n at least 1"
        )
    if values.dtype == np.uint8:
        return _pictures(what, values)
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        raise ValueError(f"{what} row {int(finite.argmin())} holds a value that is not a finite number")
    return values


def _pictures(what: str, values: NDArray[np.uint8]) -> NDArray[np.float32]:
    if values.ndim == 3:
        values = values[:, None]
    if values.ndim == 4 and values.shape[1] not in (1, 2, 3, 4):
        raise ValueError(
            f"{what} has the shape {values.shape}; pictures must be (n, channels, height, width) with 1 to 4"
            " channels. Use x.transpose(0, 3, 1, 2) if the channels are last"
        )
    return scaled(values)


def _check_rows(what: str, values: NDArray[Any], count: int) -> None:
    if values.shape != (count,):
        raise ValueError(f"{what} has the shape {values.shape}; it must be ({count},), one for each sample")


def _owners(clients: Sequence[Any], count: int) -> NDArray[np.str_]:
    owners = np.asarray(clients)
    _check_rows("clients", owners, count)
    return np.array([str(c) for c in owners.tolist()])


def _classes(labels: NDArray[Any], classes: Sequence[str] | None) -> tuple[str, ...]:
    if labels.dtype.kind not in "biuU":
        raise ValueError(f"y has the type {labels.dtype}; a label must be a whole number or a text")
    if classes is not None:
        return tuple(classes)
    return tuple(str(value) for value in np.unique(labels).tolist())


def _codes(what: str, labels: NDArray[Any], classes: tuple[str, ...], by_name: bool) -> NDArray[np.int64]:
    """The place of each label in `classes`: where its name is, or the number that it is."""
    values, place = np.unique(labels, return_inverse=True)
    if by_name or labels.dtype.kind not in "iu":
        known = {name: k for k, name in enumerate(classes)}
        codes = np.array([known.get(str(value), -1) for value in values.tolist()], np.int64)[place]
    else:
        codes = np.where((labels >= 0) & (labels < len(classes)), labels, -1).astype(np.int64)
    if (codes < 0).any():
        row = int(codes.argmin())
        raise ValueError(
            f"{what} row {row} is {labels[row]}, which is none of the {len(classes)} classes {classes}"
        )
    return codes


def _hold_out(
    codes: NDArray[np.int64],
    classes: tuple[str, ...],
    owners: NDArray[np.str_] | None,
    part: float,
    seed: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sorted places of the training samples and of the samples held out."""
    checks.fraction(test=part)
    checks.probability(test=part)
    random = generator(seed, "hold out")
    groups, group = np.unique(codes if owners is None else owners, return_inverse=True)
    held = []
    for k in range(len(groups)):
        members = random.permutation(np.flatnonzero(group == k))
        count = int(len(members) * part)
        if owners is None:
            count = max(1, count)
            if len(members) < 2:
                raise ValueError(
                    f"class {classes[int(groups[k])]!r} has 1 sample (row {int(members[0])}); it needs one to"
                    " train on and one to test on: add samples, or give test samples of your own"
                )
        held.append(members[:count])
    others = np.sort(np.concatenate(held)).astype(np.int64)
    if not len(others):
        raise ValueError(
            f"test is {part}, which holds nothing out: no client has {int(np.ceil(1 / part))} samples"
        )
    return np.setdiff1d(np.arange(len(codes)), others), others
