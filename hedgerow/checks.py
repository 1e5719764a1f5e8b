"""Checks of arguments, so that every message reads the same way.

Each function takes one or more `name=value` arguments and raises `ValueError`
with what was given and what is allowed. `None` is never accepted.
"""

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from numbers import Real


def positive(**values: float) -> None:
    """Each value is a finite number above zero.

    >>> positive(learning_rate=0.1)
    >>> positive(learning_rate=-1)
    Traceback (most recent call last):
    ...
    ValueError: learning_rate is -1; it must be a number above 0
    """
    _each(values, lambda v: v > 0, "a number above 0")


def not_negative(**values: float) -> None:
    """Each value is a finite number, zero or above."""
    _each(values, lambda v: v >= 0, "a number, 0 or above")


def fraction(**values: float) -> None:
    """Each value is above zero and at most one."""
    _each(values, lambda v: 0 < v <= 1, "a number above 0 and at most 1")


def probability(**values: float) -> None:
    """Each value is from zero up to, but not including, one."""
    _each(values, lambda v: 0 <= v < 1, "a number from 0 up to, but not including, 1")


def inside(**values: float) -> None:
    """Each value is above zero and below one."""
    _each(values, lambda v: 0 < v < 1, "a number above 0 and below 1")


def whole(minimum: int, maximum: int | None = None, **values: int) -> None:
    """Each value is a whole number between the bounds, both included."""
    allowed = (
        f"a whole number of at least {minimum}"
        if maximum is None
        else f"a whole number from {minimum} to {maximum}"
    )
    _each(
        values,
        lambda v: float(v).is_integer() and v >= minimum and (maximum is None or v <= maximum),
        allowed,
    )


def one_of(allowed: Iterable[str], **values: str) -> None:
    """Each value is one of the allowed names; the error names the nearest.

    >>> one_of(["sgd", "adam"], optimizer="adma")
    Traceback (most recent call last):
    ...
    ValueError: optimizer is 'adma'; it must be one of 'sgd', 'adam'. Did you mean 'adam'?
    """
    names = list(allowed)
    for name, value in values.items():
        if value not in names:
            listed = ", ".join(repr(n) for n in names)
            raise ValueError(f"{name} is {value!r}; it must be one of {listed}.{did_you_mean(value, names)}")


def did_you_mean(given: object, names: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the nearest name, or an empty text."""
    near = difflib.get_close_matches(str(given), list(names), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def _each(values: Mapping[str, float], holds: Callable[[float], bool], allowed: str) -> None:
    for name, value in values.items():
        is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or not holds(value):
            raise ValueError(f"{name} is {value!r}; it must be {allowed}")
