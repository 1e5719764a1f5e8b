"""The user's own arrays as a data set."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hedgerow import checks
from hedgerow.datasets import targets
from hedgerow.datasets.dataset import Dataset
from hedgerow.datasets.fashion_mnist import scaled
from hedgerow.datasets.packing import DataFileError
from hedgerow.rng import generator
from hedgerow.types import Samples
from hedgerow.wording import shown

HoldOut: TypeAlias = float | tuple[ArrayLike, ArrayLike]

_OR_NUMBERS = "; if y is a number to predict, say task='regression'"


@checks.arguments
def from_arrays(
    x: ArrayLike,
    y: ArrayLike,
    *,
    test: HoldOut = 0.2,
    classes: Sequence[str] | int | None = None,
    task: str | None = None,
    clients: ArrayLike | None = None,
    seed: int = 0,
    name: str = "arrays",
) -> Dataset:
    """Make a data set from arrays: numpy's, torch's, pandas columns, or lists.

    Args:
        x: `(n, ...)`. Pictures are `(n, channels, height, width)`, or
            `(n, height, width)` if grey, as uint8. uint8 is divided by 255;
            other integers are codes (such as characters) and become int64;
            everything else becomes float32.
        y: `(n,)`, the class of each sample, or a number to predict. An integer
            is the number of its class and is kept unchanged, so that it can
            share an alphabet with `x`. Strings are names of classes; booleans
            are classes 0 and 1. Numbers with fractions are to be predicted; so
            are integers with more than 20 distinct values and more than half as
            many as samples, unless `x` is codes.
        test: test samples as `(x, y)`, or the fraction of the samples that is
            held out for testing. If there are clients, it is held out of each
            client, rounded down; else of each class, rounded down, but at least
            one sample. 0 holds nothing out, for a device, which evaluates on
            its own samples.
        classes: names of the classes if `y` is integers from 0; otherwise the
            classes are the distinct values of `y`, sorted.
        clients: `(n,)`, the owner of each sample: a string or a number, the
            stable name of a natural client.
        seed: of the hold-out.
        name: of the data set.

    Raises:
        ValueError: an argument has the wrong type, sizes do not fit, a value is
            missing or not finite, a class has too few samples, a label has no
            class, or integers are below 0 or leave more than 1000 classes
            without a sample. Rows are counted from 0.

    >>> d = from_arrays(np.zeros((10, 3)), ["no", "yes"] * 5, test=0.4)
    >>> len(d.train), len(d.test), d.classes
    (6, 4, ('no', 'yes'))
    >>> from_arrays(np.zeros((10, 3)), np.linspace(0, 1, 10)).task
    'regression'
    """
    checks.kind(str, name=name)
    checks.whole(None, seed=seed)
    if isinstance(test, tuple) and len(test) != 2:
        raise ValueError(f"test has {len(test)} parts; it must be (x, y), or a fraction such as 0.2")
    if not isinstance(test, tuple) and not checks.is_number(test):
        raise ValueError(f"test is {shown(test)}; it must be (x, y), or a fraction such as 0.2")
    values, labels = _values("x", x), targets.column("y", y)
    _check_rows("y", labels, len(values))
    parts = [(values, labels)]
    if isinstance(test, tuple):
        parts.append((_values("test x", test[0]), targets.column("test y", test[1])))
        _check_rows("test y", parts[1][1], len(parts[1][0]))
    owners = None if clients is None else _owners(clients, len(values))
    known = _classes([labels for _, labels in parts], classes, task, coded=values.dtype == np.int64)
    samples = [
        Samples(x, targets.codes(what, y, known) if known else targets.numbers(what, y))
        for what, (x, y) in zip(("y", "test y"), parts, strict=False)
    ]
    if isinstance(test, tuple):
        places, (train, held_out) = np.arange(len(values)), samples
    else:
        places, others = _hold_out(samples[0].y, known, owners, test, seed)
        train, held_out = samples[0].take(places), samples[0].take(others)
    people, natural = (), None
    if owners is not None:
        found, codes = np.unique(owners[places], return_inverse=True)
        people, natural = tuple(found.tolist()), codes.astype(np.int64)
    return Dataset(name, train, held_out, known, natural, people, source="the user's own data")


def from_npz(
    path: str | Path,
    *,
    test: float = 0.2,
    classes: Sequence[str] | int | None = None,
    task: str | None = None,
    seed: int = 0,
) -> Dataset:
    """Make a data set from a `.npz` file.

    The file holds `x` and `y`, or `x_train`, `y_train`, `x_test` and `y_test`;
    and `clients` if the training samples have owners. `from_arrays` says what they
    may be. Nothing in the file is unpickled.

    Raises:
        DataFileError: the file cannot be read, misses an array, or holds a bad
            value; the error names the file and the row, counted from 0.
    """
    file = Path(path)
    arrays = read_npz(file)
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
        return from_arrays(
            x, y, test=rest, classes=classes, task=task, clients=owners, seed=seed, name=file.stem
        )
    except ValueError as problem:
        raise DataFileError(f"{file}: {problem}") from problem


def read_npz(file: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a `.npz` file; raises `DataFileError` if it is not a file of plain arrays."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as problem:
        raise DataFileError(f"{file} cannot be read as a .npz file of plain arrays: {problem}") from problem


def _values(what: str, x: ArrayLike) -> NDArray[Any]:
    values: NDArray[Any] = checks.array(**{what: x})
    if values.dtype.kind == "O" and values.ndim:  # as from a pandas table with columns of several types
        values = _of_objects(what, values)
    if values.dtype.kind not in "biuf" or values.ndim < 2 or not values.size:
        raise ValueError(
            f"{what} has the type {values.dtype} and the shape {values.shape}; it must be numbers,"
            " (n, ...), and n at least 1"
        )
    if values.dtype == np.uint8:
        return _pictures(what, values)
    if values.dtype.kind in "iu":
        if int(values.max()) > checks.LARGEST:
            raise ValueError(f"{what} holds {values.max()}; whole numbers must be at most {checks.LARGEST}")
        return values.astype(np.int64)
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        raise ValueError(f"{what} row {int(finite.argmin())} holds a value that is not a finite number")
    return values


def _of_objects(what: str, values: NDArray[Any]) -> NDArray[np.float64]:
    """Python objects as numbers; an error names the row of the first one that is not a number."""
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        for row, held in enumerate(values):
            for value in np.ravel(np.asarray(held, object)):
                if targets.is_missing(value):
                    raise targets.missing(what, row) from None
                if not checks.is_number(value):
                    raise ValueError(
                        f"{what} row {row} holds {shown(value)}; it must be numbers: turn dates,"
                        " texts and categories into numbers, or leave their column out"
                    ) from None
        raise ValueError(f"{what} holds a number that float64 cannot hold") from None


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
        raise ValueError(f"{what} has the shape {values.shape}; it must be ({count},), one for each row of x")


def _owners(clients: ArrayLike, count: int) -> NDArray[np.str_]:
    owners = targets.column("clients", clients)
    _check_rows("clients", owners, count)
    if owners.dtype.kind == "f" and (owners == np.floor(owners)).all():  # as pandas stores integers
        owners = owners.astype(np.int64)
    names = np.array([str(c) for c in owners.tolist()])
    if not names.astype(bool).all():
        raise ValueError(f"clients row {int(names.astype(bool).argmin())} is empty; each sample has an owner")
    return names


def _classes(
    parts: Sequence[NDArray[Any]], classes: Sequence[str] | int | None, task: str | None, coded: bool
) -> tuple[str, ...]:
    """Names of the classes; none if `y` is numbers to predict."""
    if task is not None:
        checks.one_of(targets.TASKS, task=task)
    if task == "regression" and classes is not None:
        raise ValueError(
            f"task is 'regression' and classes is {classes!r}; numbers to predict have no classes"
        )
    if task == "regression" or (task is None and classes is None and targets.is_continuous(parts[0], coded)):
        return ()
    return targets.class_names(parts, classes)


def _hold_out(
    codes: NDArray[Any],
    classes: tuple[str, ...],
    owners: NDArray[np.str_] | None,
    part: float,
    seed: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sorted positions of the training samples and of the held-out samples."""
    checks.probability(test=part)
    if part == 0:
        return np.arange(len(codes)), np.arange(0)
    random = generator(seed, "hold out")
    alike = codes if classes else np.zeros(len(codes), np.int64)  # numbers to predict form one group
    groups, group = np.unique(alike if owners is None else owners, return_inverse=True)
    held = []
    for k in range(len(groups)):
        members = random.permutation(np.flatnonzero(group == k))
        count = int(len(members) * part)
        if owners is None:
            count = max(1, count)
            if len(members) < 2:
                raise _too_few(classes[int(groups[k])] if classes else None, int(members[0]))
        held.append(members[:count])
    others = np.sort(np.concatenate(held)).astype(np.int64)
    if not len(others):
        raise ValueError(
            f"test is {part}, which holds nothing out: no client has {int(np.ceil(1 / part))} samples"
        )
    return np.setdiff1d(np.arange(len(codes)), others), others


def _too_few(name: str | None, row: int) -> ValueError:
    who = "y" if name is None else f"class {name!r}"
    numbers = name is not None and name.removeprefix("-").isdecimal()
    return ValueError(
        f"{who} has 1 sample (row {row}); it needs one to train on and one to test on: add samples, or give"
        f" test samples of your own{_OR_NUMBERS * numbers}"
    )
