"""Ranges in `[sweep]` from which values are drawn: `"log_uniform(0.01, 1.0)"`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hedgerow import checks
from hedgerow.registry import Registry
from hedgerow.rng import generator
from hedgerow.strategies.pipeline.parse import parse_call
from hedgerow.wording import shown

RANGES = Registry(
    "range",
    "hedgerow.ranges",
    {name: f"hedgerow.experiments.config.ranges:{name}" for name in ("uniform", "log_uniform", "choice")},
)
"""Ranges that a sweep may name."""

_DIGITS = 4


@dataclass(frozen=True)
class Range:
    """What a value is drawn from: numbers between two bounds, or one of several values.

    Attributes:
        low: the smallest number; numbers are whole if both bounds are.
        high: the largest.
        log: whether the logarithm is uniform, instead of the number.
        values: to choose from; the other attributes then have no meaning.
    """

    low: float = 0
    high: float = 0
    log: bool = False
    values: tuple[Any, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether it is a range of whole numbers."""
        return checks.is_whole(self.low) and checks.is_whole(self.high)

    def at(self, share: float) -> Any:
        """The value below which this share of the draws lies, from 0 up to, but not including, 1.

        >>> log_uniform(0.01, 1.0).at(0.5), uniform(1, 3).at(0.99), choice("a", "b").at(0.2)
        (0.1, 3, 'a')
        """
        if self.values:
            return self.values[int(share * len(self.values))]
        if self.whole:
            low, high = self.low, self.high + 1  # each number has an interval of its own
            return min(int(self.high), math.floor(_between(low, high, share, self.log)))
        return self.rounded(_between(self.low, self.high, share, self.log))

    def rounded(self, value: Any) -> Any:
        """A fraction to four significant digits, so that its name in a table is the value itself."""
        if not isinstance(value, float):
            return value
        return min(max(float(f"{value:.{_DIGITS}g}"), float(self.low)), float(self.high))


@checks.arguments
def uniform(low: float, high: float) -> Range:
    """Numbers from `low` to `high`, each as likely; whole ones if both bounds are.

    >>> uniform(1, 5).whole, uniform(0.0, 1.0).whole
    (True, False)
    """
    _check_bounds(low, high)
    return Range(low, high)


@checks.arguments
def log_uniform(low: float, high: float) -> Range:
    """Numbers from `low`, above 0, to `high`, whose logarithm is uniform.

    >>> log_uniform(0.001, 1.0).at(0.0)
    0.001
    """
    checks.positive(low=low)
    _check_bounds(low, high)
    return Range(low, high, log=True)


def choice(*values: Any) -> Range:
    """One of several values, each as likely.

    >>> choice(0.1, 0.2).values
    (0.1, 0.2)
    """
    if len({(type(value), value) for value in values}) < max(2, len(values)):
        raise ValueError("a choice has two or more values, no two of them equal")
    return Range(values=values)


def parse_range(text: str) -> Range:
    """The range that a text describes.

    Raises:
        ValueError: it describes none; the error says where and why.

    >>> parse_range("uniform(1, 5)").high
    5
    """
    found: Range = parse_call(text, RANGES, "range", "log_uniform(0.01, 1.0)")
    return found


def draw(ranges: Mapping[str, Range], number: int, seed: int) -> dict[str, Any]:
    """The values of one draw, by key: they depend on the seed, the number and each key alone.

    So a sweep with more draws, or another range beside these, keeps those that it has.

    >>> draw({"rounds": uniform(1, 9)}, number=0, seed=7) == draw({"rounds": uniform(1, 9)}, 0, 7)
    True
    """
    return {
        key: values.at(float(generator(seed, f"sweep {key}", round=number).random()))
        for key, values in ranges.items()
    }


def draws(ranges: Mapping[str, Range], count: int, seed: int) -> Sequence[dict[str, Any]]:
    """The first draws, of which equal ones count once."""
    found: list[dict[str, Any]] = []
    for number in range(count):
        values = draw(ranges, number, seed)
        if values not in found:
            found.append(values)
    return found


def _between(low: float, high: float, share: float, log: bool) -> float:
    if log:
        return math.exp(_between(math.log(low), math.log(high), share, False))
    return low + share * (high - low)


def _check_bounds(low: float, high: float) -> None:
    for name, bound in (("low", low), ("high", high)):
        if not checks.is_number(bound) or not math.isfinite(bound):
            raise ValueError(f"{name} is {shown(bound)}; it must be a finite number")
    if not low < high:
        raise ValueError(f"high is {shown(high)}; it must be above low, which is {shown(low)}")
