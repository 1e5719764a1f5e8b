"""What `y` means: the class of each sample, or a number to predict."""

import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hedgerow import checks
from hedgerow.wording import shown

TASKS = ("classification", "regression")

MOST_EMPTY_CLASSES = 1000
"""Integers are classes from 0 to the largest; with more unused classes than this they are refused."""

_FEW_VALUES = 20
_LARGEST = float(np.finfo(np.float32).max)
_TO_NAMES = "to take them as names of classes, give texts: np.asarray(y).astype(str)"
_TO_NUMBERS = "to predict them as numbers, say task='regression'"


def column(what: str, values: ArrayLike) -> NDArray[Any]:
    """A column as a plain array of booleans, integers, floats or strings, with no missing values.

    Accepts numpy, pandas (also `object`, `category` and string types), torch and
    lists.

    Raises:
        ValueError: a value is missing, infinite or of another type; the error names
            the row, counted from 0.

    >>> column("y", ["a", "b"]).dtype.kind, column("y", np.array([1, 2], object)).dtype.kind
    ('U', 'i')
    """
    array: NDArray[Any] = checks.array(**{what: values})
    if array.ndim < 1:
        raise ValueError(f"{what} is {shown(values)}; it must be a column, one value for each sample")
    if array.dtype.kind in "UOT":
        # If a list has a string, numpy converts everything to strings, even missing values.
        return _of_objects(what, np.asarray(values, object))
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what} has the type {array.dtype}; it must be whole numbers, numbers or texts")
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise missing(what, int(np.isnan(array).argmax()))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{what} row {int(np.isfinite(array).argmin())} is infinite; it must be finite")
    return array


def is_continuous(values: NDArray[Any], coded: bool = False) -> bool:
    """Whether these are numbers to predict rather than classes.

    They are if they have fractions, or if they are integers with more than 20
    distinct values and more than half as many as samples, unless `x` is codes,
    where the next code is a class.

    >>> is_continuous(np.array([0.5, 1.0])), is_continuous(np.array([5, 9])), is_continuous(np.arange(50))
    (True, False, True)
    """
    if values.dtype.kind not in "iuf":
        return False
    if values.dtype.kind == "f" and (values != np.floor(values)).any():
        return True
    different = len(np.unique(values))
    return not coded and different > _FEW_VALUES and 2 * different > len(values)


def numbers(what: str, values: NDArray[Any]) -> NDArray[np.float32]:
    """Targets of a regression, `(n,) float32`; raises `ValueError` if one is not such a number."""
    if values.dtype.kind == "U":
        raise ValueError(f"{what} row 0 is {str(values[0])!r}; with task='regression' it must be a number")
    large = np.abs(values.astype(np.float64)) > _LARGEST
    if large.any():
        row = int(large.argmax())
        raise ValueError(f"{what} row {row} is {values[row]}; it must be a number that float32 can hold")
    return values.astype(np.float32)


def class_names(parts: Sequence[NDArray[Any]], classes: Sequence[str] | int | None) -> tuple[str, ...]:
    """Names of the classes: those given, or those in `y`.

    Args:
        parts: `y` of the training samples, and of the test samples if they are given.
        classes: the names, or how many there are.

    Raises:
        ValueError: whole numbers are below 0, or leave too many classes without a sample.
    """
    if checks.is_whole(classes):
        checks.whole(1, classes=int(classes))
        return tuple(map(str, range(int(classes))))
    if classes is not None:
        return _given(classes)
    labels = parts[0]
    if labels.dtype.kind == "b":
        return ("False", "True")
    if labels.dtype.kind == "U":
        return tuple(np.unique(labels).tolist())
    different = np.unique(labels)
    lowest, count = int(different[0]), max(int(part.max()) for part in parts) + 1
    if lowest < 0 or count - len(different) > MOST_EMPTY_CLASSES:
        raise ValueError(
            f"y holds {len(different)} different numbers, from {different[0]} to {different[-1]}; classes are"
            f" whole numbers from 0, with at most {MOST_EMPTY_CLASSES} of them unused: {_TO_NAMES};"
            f" {_TO_NUMBERS}"
        )
    return tuple(map(str, range(count)))


def codes(what: str, labels: NDArray[Any], classes: tuple[str, ...]) -> NDArray[np.int64]:
    """The class of each sample, `(n,) int64`: the position of a string in `classes`, or a number itself.

    Raises:
        ValueError: there is no such class; the error names the row, counted from 0.
    """
    if labels.dtype.kind == "U":
        values, place = np.unique(labels, return_inverse=True)
        known = {name: k for k, name in enumerate(classes)}
        found = np.array([known.get(value, -1) for value in values.tolist()], np.int64)[place]
    else:
        inside = (labels >= 0) & (labels < len(classes)) & (labels == np.floor(labels))
        found = np.where(inside, labels, -1).astype(np.int64)
    if (found < 0).any():
        row = int(found.argmin())
        names = repr(classes) if len(classes) <= _FEW_VALUES else f"{classes[0]!r} to {classes[-1]!r}"
        raise ValueError(
            f"{what} row {row} is {labels[row]}, which is not one of the {len(classes)} classes {names}"
        )
    return found


def _given(classes: Any) -> tuple[str, ...]:
    several = isinstance(classes, Iterable) and not isinstance(classes, str)
    names = tuple(classes) if several and getattr(classes, "ndim", 1) == 1 else ()
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(
            f"classes is {shown(classes)}; it must be distinct texts, or the number of classes: {_TO_NAMES}"
        )
    return tuple(map(str, names))


def _of_objects(what: str, values: NDArray[Any]) -> NDArray[Any]:
    plain = values.ravel().tolist()
    for row, value in enumerate(plain):
        if is_missing(value):
            raise missing(what, row)
    for kind, made in ((str, str), (bool | np.bool_, bool), (Integral, None), (Real, np.float64)):
        if all(isinstance(value, kind) for value in plain):
            return np.array(plain, made).reshape(values.shape)
        if isinstance(plain[0], kind):
            break
    first = type(plain[0])
    row = next((k for k, value in enumerate(plain) if not isinstance(value, first)), 0)
    if not row:
        raise ValueError(
            f"{what} row 0 is {plain[0]!r}, of the type {first.__name__}; each must be a whole number, a"
            " number or a text"
        )
    raise ValueError(
        f"{what} row {row} is {plain[row]!r}, of the type {type(plain[row]).__name__}, and row 0 is"
        f" {plain[0]!r}; all must be whole numbers, all numbers or all texts"
    )


def is_missing(value: Any) -> bool:
    # pandas' markers are recognised by name, so that it need not be installed.
    nan = isinstance(value, float) and math.isnan(value)
    return value is None or nan or type(value).__name__ in ("NAType", "NaTType")


def missing(what: str, row: int) -> ValueError:
    return ValueError(f"{what} row {row} is missing; give a value, or leave the sample out")
