"""Which function writes which operator."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np


@final
@dataclass(frozen=True)
class Form:
    """Shape and dtype of what an operator gives."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


Translator = Callable[..., Any]
"""`(to, out, *args, **kwargs)`: writes an operator, and returns its value, or a tuple of values.

`to` is the `Writer`; `out` the `Form` of the result, or a tuple of forms; tensors among the arguments
are `Value`s, and everything else is what torch was given.
"""

TRANSLATORS: dict[str, Translator] = {}
"""By operator; `hedgerow.export.operators.all` has them all in it."""


def translates(*operators: str) -> Callable[[Translator], Translator]:
    """Say which operators a function writes, such as `"aten.mm.default"`; as a decorator.

    Raises:
        ValueError: one of them has a function already.
    """

    def register(function: Translator) -> Translator:
        for operator in operators:
            if operator in TRANSLATORS:
                raise ValueError(f"{operator} has a translator already")
            TRANSLATORS[operator] = function
        return function

    return register


def same(operators: dict[str, str], make: Callable[[str], Translator]) -> None:
    """Register operators that are one node of ONNX each: `{aten's name: ONNX's}`."""
    for operator, name in operators.items():
        translates(operator)(make(name))
