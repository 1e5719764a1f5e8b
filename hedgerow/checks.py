"""Argument checks whose messages all read the same way.

Each function takes one or more `name=value` arguments and raises a `ValueError`
that states what was given and what is allowed. Only `kind` accepts `None`, and
only if `NoneType` is one of its kinds.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from inspect import unwrap
from numbers import Integral, Real
from pathlib import Path
from types import NoneType
from typing import Any, TypeGuard, TypeVar, cast, get_args

import numpy as np

from hedgerow.wording import did_you_mean, first_line, shown, with_article

LARGEST = 2**63 - 1
"""No count can be larger: it is the maximum length of a Python sequence."""

_NAMES: dict[Any, str] = {
    NoneType: "None", bool: "True or False", str: "a string", Path: "a path", Mapping: "a dict",
    Callable: "a function",
}  # fmt: skip

Made = TypeVar("Made", bound=Callable[..., Any])


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


def whole(minimum: int | None, maximum: int | None = None, **values: int) -> None:
    """Each value is a whole number between the bounds, both included.

    Without a minimum any whole number is accepted; without a maximum, the limit is `LARGEST`.

    >>> whole(1, rounds=2.5)
    Traceback (most recent call last):
    ...
    ValueError: rounds is 2.5; it must be a whole number of at least 1
    """
    allowed = "a whole number"
    if minimum is not None:
        allowed += f" of at least {minimum}" if maximum is None else f" from {minimum} to {maximum}"
    most = LARGEST if maximum is None else maximum
    given: Mapping[str, Any] = values
    for name, value in given.items():
        inside = is_number(value) and (minimum is None or minimum <= value <= most)
        if not inside or not is_whole(value):
            hint = f", such as {int(value)}" if inside and math.isfinite(value) and value % 1 == 0 else ""
            if is_whole(value) and value > LARGEST == most:
                hint = f" and at most {LARGEST}"
            raise ValueError(f"{name} is {shown(value)}; it must be {allowed}{hint}")


def is_whole(value: object) -> TypeGuard[int]:
    """Whether the value is an integer, Python's or numpy's; booleans and floats are not.

    >>> is_whole(3), is_whole(np.int32(3)), is_whole(3.0), is_whole(True)
    (True, True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether the value is a real number; booleans are not."""
    return isinstance(value, Real) and not isinstance(value, bool)


def flag(**values: bool) -> None:
    """Each value is True or False."""
    kind(bool, **values)


def kind(allowed: Any, hint: str = "", /, **values: Any) -> None:
    """Each value is an instance of the class, or of one of several; a boolean does not count as a number.

    Args:
        allowed: a class, or a tuple of classes and of `Callable`, `Mapping` and the like.
        hint: text to append to the message, such as a remedy.

    >>> kind((dict, NoneType), ", such as {'a': 1}", options=[1])
    Traceback (most recent call last):
    ...
    ValueError: options is [1]; it must be a dict or None, such as {'a': 1}
    """
    kinds = allowed if isinstance(allowed, tuple) else (allowed,)
    for name, value in values.items():
        truth = isinstance(value, bool) and bool not in kinds
        # A class is callable too, but passing one means that its brackets were forgotten.
        if truth or isinstance(value, type) or not isinstance(value, kinds):
            listed = " or ".join(_NAMES.get(k) or with_article(k.__name__) for k in kinds)
            raise ValueError(f"{name} is {shown(value)}; it must be {listed}{hint}")


def has(methods: Sequence[str], allowed: str, /, **values: Any) -> None:
    """Each value is an object with these methods or attributes; `allowed` describes it in the message."""
    for name, value in values.items():
        if isinstance(value, type) or not all(hasattr(value, method) for method in methods):
            raise ValueError(f"{name} is {shown(value)}; it must be {allowed}")


def texts(**values: Sequence[str]) -> None:
    """Each value is a tuple or list of strings."""
    for name, value in values.items():
        if not isinstance(value, tuple | list) or not all(isinstance(text, str) for text in value):
            raise ValueError(f"{name} is {shown(value)}; it must be a tuple of strings")


def path(**values: Any) -> Path:
    """The one value, a string or a path, as a `Path`.

    >>> path(folder="runs/1").parts
    ('runs', '1')
    """
    kind((Path, str), **values)
    ((name, found),) = values.items()
    if found == "":
        raise ValueError(f"{name} is ''; it must be a path, such as '.' for this folder")
    return Path(found)


def array(**values: Any) -> Any:
    """The one value as a numpy array that keeps its type: from numpy, torch (any device), pandas or lists.

    torch's bfloat16, which numpy lacks, becomes float32. A masked value counts as missing and is refused.

    >>> array(x=[[1, 2], [3, 4]]).shape
    (2, 2)
    """
    ((name, value),) = values.items()
    if np.ma.is_masked(value):
        row = "".join(f" row {k}" for k in np.argwhere(np.ma.getmaskarray(value))[0][:1])
        raise ValueError(f"{name}{row} is missing; give a value, or leave the sample out")
    try:
        if hasattr(value, "detach"):
            value = (value.float() if str(value.dtype) == "torch.bfloat16" else value).detach().cpu()
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name} is {shown(value)}, which numpy cannot convert to an array ({first_line(error)}); it must"
            " be an array of numbers"
        ) from None


def arguments(make: Made) -> Made:
    """Decorate a public function or class to check keyword names and convert numpy scalars.

    An unknown keyword is refused with a list of the valid ones; numpy numbers,
    booleans and strings arrive as Python's.

    >>> @arguments
    ... def double(number): return 2 * number
    >>> double(np.int64(4))
    8
    >>> double(numbr=4)
    Traceback (most recent call last):
    ...
    TypeError: double() has no argument 'numbr'; it has 'number'. Did you mean 'number'?
    """
    if isinstance(make, type):
        make.__init__ = _checked(make.__init__, make.__name__)  # type: ignore[misc]
        return make
    return cast(Made, _checked(make, make.__name__))


def _checked(make: Any, name: str) -> Any:
    allowed = _keywords(make)

    @wraps(make)
    def checked(*given: Any, **options: Any) -> Any:
        for option in options:
            if option not in allowed:
                listed = ", ".join(map(repr, allowed)) or "none"
                raise TypeError(
                    f"{name}() has no argument {option!r}; it has {listed}.{did_you_mean(option, allowed)}"
                )
        return make(*map(_plain, given), **{option: _plain(value) for option, value in options.items()})

    return checked


def _keywords(make: Any) -> list[str]:
    make = unwrap(make)
    code = make.__code__
    number = code.co_argcount + code.co_kwonlyargcount
    names = [n for n in code.co_varnames[code.co_posonlyargcount : number] if n != "self"]
    if code.co_flags & 0x08:  # **options, named by a TypedDict
        rest = code.co_varnames[number + bool(code.co_flags & 0x04)]
        (typed,) = get_args(make.__annotations__[rest])
        names += typed.__annotations__
    return names


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.bool_ | np.integer | np.floating | np.str_) else value


def one_of(allowed: Iterable[str], **values: str) -> None:
    """Each value is one of the allowed names; the error names the nearest.

    >>> one_of(["sgd", "adam"], optimizer="adma")
    Traceback (most recent call last):
    ...
    ValueError: optimizer is 'adma'; it must be one of 'sgd', 'adam'. Did you mean 'adam'?
    """
    names = list(allowed)
    for name, value in values.items():
        if not isinstance(value, str) or value not in names:
            listed = ", ".join(repr(n) for n in names)
            raise ValueError(
                f"{name} is {shown(value)}; it must be one of {listed}.{did_you_mean(value, names)}"
            )


def _each(values: Mapping[str, float], holds: Callable[[float], bool], allowed: str) -> None:
    for name, value in values.items():
        if not _is_finite(value) or not holds(value):
            raise ValueError(f"{name} is {shown(value)}; it must be {allowed}")


def _is_finite(value: Any) -> bool:
    if not is_number(value):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer too large for a float
        return False
