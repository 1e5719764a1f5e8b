"""Short texts for error messages: the value that was given, and the name that was probably meant."""

import difflib
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

_LONGEST = 60


def did_you_mean(given: object, names: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the nearest name, or an empty text."""
    near = difflib.get_close_matches(str(given), list(names), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def shown(value: Any) -> str:
    """A value as a short text of one line for a person.

    >>> shown(-1), shown(np.zeros((2, 3))), shown(dict), shown(shown)
    ('-1', 'an array of shape (2, 3)', 'the class dict', 'the function shown')
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if callable(value) and hasattr(value, "__name__"):
        return f"the function {value.__name__}"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Integral) and abs(value) >= 10**_LONGEST:  # Python may refuse to write it down
        return "a very large number"
    if value is None or isinstance(value, Real | complex | str | bytes | Path):
        text = repr(value)
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."
    if type(value) in (tuple, list, dict, set) and len(value) <= _LONGEST:
        simple = all(v is None or isinstance(v, int | float | str) for v in _leaves(value))
        if simple and len(text := repr(value)) <= _LONGEST:
            return text
    if isinstance(name := getattr(value, "name", None), str) and repr(value) == name:
        return name  # a step of a pipeline
    return with_article(type(value).__name__)


def first_line(error: Exception) -> str:
    """The first line of an error's text."""
    return (str(error) or type(error).__name__).splitlines()[0]


def _leaves(value: Any) -> list[Any]:
    return [*value, *value.values()] if isinstance(value, dict) else list(value)


def with_article(name: str) -> str:
    if name.endswith("s") and not name.endswith("ss"):
        return name
    return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"
