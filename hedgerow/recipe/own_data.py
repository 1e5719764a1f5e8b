"""The schema of data of which each device has its own, so that a row means the same everywhere.

    [data]
    name = "own"
    columns = ["age", "pressure"]        # inputs, in this order
    label = "sick"
    classes = ["no", "yes"]              # left out if the label is a number to predict
    shift = [50.0, 120.0]                # subtracted from each column,
    scale = [10.0, 20.0]                 # which is then divided by this
    lowest = [0.0, 40.0]                 # limits of the values, before that
    highest = [120.0, 260.0]
    held_out = 0.2                       # of the rows, each by a hash of its contents

Nothing is derived from any device's data: all constants are in the recipe.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks

NAME = "own"
"""The name of data of which each device has its own, in `[data]`."""

WITHIN = "within float32's range"
"""What a trainer can hold, in an error: numbers of up to 3.4e38."""


class DoesNotFit(ValueError):
    """A device's own file does not fit the schema; the message says where, and what is allowed."""


@dataclass(frozen=True)
class OwnSchema:
    """What each device's file must hold.

    Attributes:
        columns: of a table, the inputs in order; empty if samples are arrays or pictures.
        label: of a table, the column with the class, or with the number to predict.
        classes: names of the classes; class `c` is `classes[c]`. Empty if numbers are predicted.
        shape: of one sample; default: `(len(columns),)`.
        shift: subtracted from each value: one number, or one for each column.
        scale: each value is then divided by it.
        lowest, highest: limits of a value, before `shift` and `scale`.

    Raises:
        ValueError: a list differs in length from `columns`, or a value is out of range.

    >>> OwnSchema(columns=("a", "b"), classes=("no", "yes")).input_shape
    (2,)
    """

    columns: tuple[str, ...] = ()
    label: str = "label"
    classes: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    shift: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    lowest: tuple[float, ...] = ()
    highest: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
        checks.kind(str, ", such as 'sick'", label=self.label)
        for name in ("columns", "classes"):
            values = getattr(self, name)
            checks.texts(**{name: values})
            if len(set(values)) < len(values) or "" in values:
                raise ValueError(f"{name} is {list(values)}; each must have its own name")
        if len(self.classes) == 1:
            raise ValueError(f"classes is {list(self.classes)}; it must have two or more, or be left out")
        if self.label in self.columns:
            raise ValueError(
                f"label is {self.label!r}, which is one of columns; the label cannot be an input"
            )
        for size in self.shape:
            checks.whole(1, shape=size)
        if not self.input_shape:
            raise ValueError("columns and shape are empty; give the columns of a table, or a sample's shape")
        if self.columns and math.prod(self.input_shape) != len(self.columns):
            raise ValueError(
                f"shape is {list(self.shape)}, {math.prod(self.shape)} values; there are"
                f" {len(self.columns)} columns"
            )
        for name in ("shift", "scale", "lowest", "highest"):
            self._check_numbers(name, getattr(self, name))
        if not all(self.scale):
            raise ValueError(f"scale is {list(self.scale)}; values are divided by it, so it cannot be 0")
        for name in ("lowest", "highest"):
            if (bounds := getattr(self, name)) and not self._holds(bounds):
                raise ValueError(f"{name} is {list(bounds)}; after shift and scale it must be {WITHIN}")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return self.shape or ((len(self.columns),) if self.columns else ())

    @property
    def num_outputs(self) -> int:
        """Number of values that a model returns for a sample."""
        return len(self.classes) or 1

    @property
    def name(self) -> str:
        """The name of this data in a recipe."""
        return NAME

    @property
    def task(self) -> str:
        """`"classification"` or `"regression"`."""
        return "classification" if self.classes else "regression"

    def to_json(self) -> dict[str, Any]:
        """The schema as JSON values, for a description."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """Undo `to_json`; raises `ValueError` for anything else."""
        known = [field.name for field in fields(cls)]
        for key, value in given.items():
            if key not in known or not isinstance(value, str | list | tuple):
                raise ValueError(
                    f"the schema of own data has {key!r}: {value!r}; allowed are {', '.join(known)}"
                )
        return cls(**given)

    def prepare(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Convert `(n, columns) or (n, *shape) float64` for a trainer, to `(n, *input_shape) float32`.

        Computed in float64 and rounded once, so that it is the same on every machine.

        >>> OwnSchema(columns=("a",), shift=(1.0,), scale=(2.0,)).prepare(np.array([[4.0]])).tolist()
        [[1.5]]
        """
        return self._scaled(values).reshape(len(values), *self.input_shape)

    def _scaled(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """The values after shift and scale; infinite where float32 cannot hold them."""
        with np.errstate(over="ignore"):
            for name, operation in (("shift", np.subtract), ("scale", np.divide)):
                if constants := getattr(self, name):
                    values = operation(values, np.array(constants, np.float64))
            return values.astype(np.float32)

    def out_of_range(self, values: NDArray[np.float64]) -> tuple[int, ...] | None:
        """The position of the first value that is not allowed; `None` if all are."""
        wrong = ~np.isfinite(self._scaled(values))
        if self.lowest:
            wrong |= values < np.array(self.lowest)
        if self.highest:
            wrong |= values > np.array(self.highest)
        return tuple(int(place) for place in np.argwhere(wrong)[0]) if wrong.any() else None

    def allowed(self, column: int = 0) -> str:
        """The allowed values, in words."""
        low, high = (
            bound[min(column, len(bound) - 1)] if bound else None for bound in (self.lowest, self.highest)
        )
        if low is None and high is None:
            return f"a finite number {WITHIN}"
        if low is None or high is None:
            bound = f"at most {high:g}" if low is None else f"at least {low:g}"
            return f"a number of {bound}, {WITHIN}"
        return f"a number from {low:g} to {high:g}"

    def _holds(self, bounds: tuple[float, ...]) -> bool:
        """Whether float32 can hold limits, after shift and scale."""
        size = max(map(len, (bounds, self.shift, self.scale)))
        return bool(np.isfinite(self._scaled(np.broadcast_to(np.array(bounds, np.float64), size))).all())

    def _check_numbers(self, name: str, values: tuple[float, ...]) -> None:
        for value in values:
            if not checks.is_number(value) or not math.isfinite(value):
                raise ValueError(f"{name} is {list(values)}; it must be finite numbers")
        if len(values) not in (0, 1, len(self.columns)):
            raise ValueError(
                f"{name} has {len(values)} numbers; it must have one, or one for each of the"
                f" {len(self.columns)} columns"
            )
