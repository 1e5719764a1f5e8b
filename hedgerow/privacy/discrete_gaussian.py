"""Exact samples of the discrete Gaussian, many at a time.

Noise made of rounded floating-point numbers has gaps: of two neighbouring sums,
one may be able to produce an output that the other cannot (Mironov 2012). Whole
numbers added to whole numbers have none, provided that their distribution is
exact; this one gives the privacy of the continuous Gaussian (Canonne, Kamath
and Steinke 2020, arXiv:2004.00010, theorem 4).
"""

from collections.abc import Sequence
from decimal import Decimal, localcontext
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.rng import RandomSource

LARGEST_SIGMA = 2**52
"""A position within a block must be exact as a double."""

_BITS = 63
_BLOCKS = 40  # exp(-40**2 / 2) is 1e-347: never drawn
_BAND = 2.0**-40  # far larger than the error of a computed probability, yet seldom hit
_DIGITS = 400
_AT_ONCE = 65536


def discrete_gaussian(sigma: int, n: int, source: RandomSource) -> NDArray[np.int64]:
    """Draw `n` whole numbers `x` with probability proportional to `exp(-x^2 / (2 sigma^2))`.

    A candidate is `k sigma + u`: the block `k` has weight `exp(-k^2 / 2)`, `u`
    is uniform below `sigma`, and it is kept with probability
    `exp(-(2 k u sigma + u^2) / (2 sigma^2))`, whose product with the weight is
    the desired density; 71 % are kept (after Karney 2016, arXiv:1303.6257).

    Every step is exact. `u` is drawn from whole numbers by rejection. To compare
    a random number with a probability, 63 of its bits are compared with a
    double; if they are closer than the double's error, further bits and as many
    decimal digits as necessary decide. A million values take a fraction of a
    second.

    Args:
        sigma: whole number, 1 to 2**52.
        n: number of values.
        source: source of randomness.

    Returns:
        `(n,) int64`, all below `40 sigma` in absolute value.

    Raises:
        ValueError: `sigma` or `n` is not a whole number in range.

    >>> from hedgerow.rng import seeded_source
    >>> discrete_gaussian(3, 5, seeded_source(0, "example")).tolist()
    [-2, -2, 0, -5, 5]
    """
    checks.whole(1, LARGEST_SIGMA, sigma=sigma)
    checks.whole(0, n=n)
    drawn = np.empty(n, np.int64)
    filled = 0
    while filled < n:
        kept = _candidates(sigma, min(_AT_ONCE, int(1.5 * (n - filled)) + 16), source)[: n - filled]
        drawn[filled : filled + len(kept)] = kept
        filled += len(kept)
    return drawn


def _candidates(sigma: int, n: int, source: RandomSource) -> NDArray[np.int64]:
    first = source(n)
    negative = (first & np.uint64(1)).astype(bool)
    k = _blocks(first >> np.uint64(1), source)
    u = uniform_below(sigma, n, source)
    part = u / sigma
    gamma = part * (k + 0.5 * part)
    uniform = source(n) >> np.uint64(1)
    distance = np.ldexp(uniform.astype(np.float64), -_BITS) - np.exp(-gamma)
    kept = distance < 0
    for i in np.flatnonzero(np.abs(distance) < _BAND):
        within = int(u[i])
        exponent = (2 * int(k[i]) * sigma * within + within**2, 2 * sigma**2)
        kept[i] = _below(int(uniform[i]), exponent, source)
    kept &= ~(negative & (k == 0) & (u == 0))  # zero is one number, not two
    size = k * sigma + u
    result: NDArray[np.int64] = np.where(negative, -size, size)[kept]
    return result


def uniform_below(bound: int, n: int, source: RandomSource) -> NDArray[np.int64]:
    """`(n,) int64`, uniform from 0 to `bound - 1`; words that would bias the result are rejected.

    >>> from hedgerow.rng import seeded_source
    >>> uniform_below(3, 4, seeded_source(0, "example")).tolist()
    [2, 0, 1, 1]
    """
    drawn = source(n)
    if bound & (bound - 1):
        allowed = np.uint64(2**64 // bound * bound)
        while (wrong := np.flatnonzero(drawn >= allowed)).size:
            drawn = drawn.copy()
            drawn[wrong] = source(len(wrong))
    return (drawn % np.uint64(bound)).astype(np.int64)


def _blocks(uniform: NDArray[np.uint64], source: RandomSource) -> NDArray[np.int64]:
    """The block that each 63-bit number falls in: block `k` has weight `exp(-k^2 / 2)`."""
    table, exact = _thresholds()
    block = np.searchsorted(table, uniform, side="right")
    # A number equal to the first 63 bits of a threshold may lie on either side of it.
    for i in np.flatnonzero(uniform == table[np.maximum(block, 1) - 1]):
        block[i] = _block(int(uniform[i]), exact, source)
    return block.astype(np.int64)


def _block(value: int, ends: Sequence[Decimal], source: RandomSource) -> int:
    """The block of a uniform number with these first 63 bits; draws further bits as necessary."""
    bits = _BITS
    with localcontext() as context:
        context.prec = _DIGITS
        while True:
            scaled = [end * 2**bits for end in ends]
            if not any(value < end < value + 1 for end in scaled):
                return sum(end <= value for end in scaled)
            value, bits = value << 64 | int(source(1)[0]), bits + 64


@cache
def _thresholds() -> tuple[NDArray[np.uint64], Sequence[Decimal]]:
    """Where block `k` ends, as a fraction of 1: to 63 bits rounded down, and to `_DIGITS` digits."""
    with localcontext() as context:
        context.prec = _DIGITS
        weights = [(-Decimal(k * k) / 2).exp() for k in range(_BLOCKS)]
        total = sum(weights)
        ends: list[Decimal] = []
        for weight in weights[:-1]:
            ends.append((ends[-1] if ends else Decimal(0)) + weight / total)
        table = np.array([int(end * 2**_BITS) for end in ends], np.uint64)
    return table, ends


def _below(value: int, exponent: tuple[int, int], source: RandomSource) -> bool:
    """Whether a uniform number with these first 63 bits is below `exp(-a / b)`."""
    bits, digits = _BITS, 50
    while True:
        with localcontext() as context:
            context.prec = digits
            probability: Any = (-Decimal(exponent[0]) / Decimal(exponent[1])).exp()
            unit = Decimal(2) ** -bits
            low, high = value * unit, (value + 1) * unit
            slack = Decimal(10) ** (10 - digits)
            if high <= probability - slack:
                return True
            if low >= probability + slack:
                return False
        value, bits, digits = value << 64 | int(source(1)[0]), bits + 64, digits + 40
