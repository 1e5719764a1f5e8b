"""Student's t interval of a mean over seeds."""

import math
import statistics
from collections.abc import Sequence

LEVEL = 0.95

NAME = f"{100 * LEVEL:g} % t interval"
"""What tables and plots call it."""


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float] | None:
    """Bounds of a mean from independent normal values; `None` for fewer than two, which bound nothing.

    The mean plus and minus t s / sqrt(n), where t is Student's quantile with n - 1 degrees of freedom
    (Student 1908, The Probable Error of a Mean).

    >>> low, high = interval([0.8, 0.9, 1.0])
    >>> round(low, 4), round(high, 4)
    (0.6516, 1.1484)
    """
    if len(values) < 2:
        return None
    mean = statistics.fmean(values)
    half = quantile(level, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean - half, mean + half


def quantile(level: float, freedom: int) -> float:
    """The t that a value of Student's distribution exceeds, in either direction, with chance 1 - `level`.

    >>> round(quantile(0.95, 1), 3), round(quantile(0.95, 4), 3)
    (12.706, 2.776)
    """
    low, high = 0.0, 1.0
    while _within(high, freedom) < level:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < level else (low, middle)
    return high


def _within(t: float, freedom: int) -> float:
    """The chance of a value between -t and t (Abramowitz and Stegun 1972, equations 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
