"""Random rotations of a vector of any length: signs and Hadamard transforms, without padding."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hedgerow.types import Vector

Signs = NDArray[np.uint8]
"""1 for each value whose sign changes, else 0."""

LONGEST = 8192
"""Most values that are mixed with each other."""

_BATCH = 2**16
"""Values that are transformed at once: with a second array of that size, they stay in a processor's cache."""


@dataclass(frozen=True)
class Rotation:
    """A random rotation of `(n,)` values; orthogonal up to float32 rounding.

    The values are cut into windows of `rows`, the largest power of two that is at most `n` and 8192: of
    `columns` windows, the j-th has every `columns`-th value from the j-th on. Each is multiplied by random
    signs, by a Hadamard matrix, by other signs and, in runs of at most 64, by a Hadamard matrix again. If
    values are left over, the same is then done to the last `rows` values, of which some are turned for the
    second time. So nothing is padded, and a value is a sum of many with random signs, whatever was put in.

    The factors are powers of two: only additions are rounded, and in an order that is the same everywhere.

    >>> rotation, x = Rotation.drawn(3, np.random.default_rng(1)), np.array([1, 2, 3], np.float32)
    >>> rotation.turn(x)
    >>> rotation.turn_back(x)
    >>> x.tolist()
    [1.0, 2.0, 3.0]
    """

    n: int
    rows: int
    columns: int
    signs: tuple[Signs, ...]

    @classmethod
    def drawn(cls, n: int, draw: np.random.Generator) -> "Rotation":
        """The rotation that a generator gives."""
        rows = 1 << (min(n, LONGEST).bit_length() - 1) if n else 1
        columns = n // rows
        sizes = [rows * columns] * 2 + [rows] * 2 * (n > rows * columns)
        # Raw output, which numpy keeps stable (NEP 19): client and server may have different versions.
        words = [draw.bit_generator.random_raw(-(-size // 64)) for size in sizes]
        bits = [np.unpackbits(np.asarray(each, "<u8").view(np.uint8), bitorder="little") for each in words]
        return cls(n, rows, columns, tuple(each[:size] for each, size in zip(bits, sizes, strict=True)))

    @property
    def start(self) -> int:
        """Where the window of the last values begins; `n` if there is none."""
        return self.n - self.rows if len(self.signs) > 2 else self.n

    @property
    def groups(self) -> int:
        """Number of windows: values of one are alike after the rotation."""
        return self.columns + (self.start < self.n)

    def turn(self, values: Vector) -> None:
        """Rotate `(n,) float32` in place."""
        for window in self._windows(values):
            _mix(*window)

    def turn_back(self, values: Vector) -> None:
        """Undo `turn`, in place."""
        for window in reversed(self._windows(values)):
            _unmix(*window)

    def _windows(self, values: Vector) -> list[tuple[Vector, Signs, Signs]]:
        """The windows as columns, and their signs, in the order in which they are turned."""
        cut = self.rows * self.columns
        signs, found = self.signs, []
        if self.n:
            found.append((values[:cut].reshape(self.rows, -1), signs[0], signs[1]))
        if self.start < self.n:
            found.append((values[self.start :].reshape(-1, 1), signs[2], signs[3]))
        return found

    def sums(self, values: Vector) -> NDArray[np.float64]:
        """The sum of the values of each group."""
        found = np.zeros(self.groups)
        if self.n:
            head = values[: self.start]
            whole = len(head) - len(head) % self.columns
            found[: self.columns] = head[:whole].reshape(-1, self.columns).sum(axis=0, dtype=np.float64)
            found[: len(head) - whole] += head[whole:]
            found[self.columns :] = values[self.start :].sum(dtype=np.float64)
        return found

    def scale(self, values: Vector, factors: Vector) -> None:
        """Multiply the values of each group by its factor, in place."""
        if self.n:
            whole = self.start - self.start % self.columns
            rows = values[:whole].reshape(-1, self.columns)
            rows *= factors[: self.columns]
            values[whole : self.start] *= factors[: self.start - whole]
            values[self.start :] *= factors[self.columns :]


def largest_power(x: NDArray[Any]) -> int:
    """The largest power of two that no value exceeds; divided by it, none overflows or vanishes.

    >>> largest_power(np.array([0.5, -9.0])), largest_power(np.zeros(0))
    (3, -1)
    """
    return int(np.frexp(max(x.max(initial=0), -x.min(initial=0)))[1]) - 1


def _mix(x: Vector, first: Signs, second: Signs) -> None:
    _flip(x, first)
    _hadamard(x)
    _flip(x, second)
    _hadamard_runs(x)


def _unmix(x: Vector, first: Signs, second: Signs) -> None:
    _hadamard_runs(x)
    _flip(x, second)
    _hadamard(x)
    _flip(x, first)


def _flip(x: Vector, signs: Signs) -> None:
    """Change the signs where there is a 1."""
    bits = x.reshape(-1).view(np.uint32)
    for start in range(0, len(bits), _BATCH):
        words = signs[start : start + _BATCH].astype(np.uint32)
        words <<= 31
        bits[start : start + _BATCH] ^= words


def _hadamard(x: Vector) -> None:
    """Multiply each column by the Hadamard matrix of its length, a power of two; without a factor."""
    rows, columns = x.shape
    outer = min(rows, 64)
    _along(x.reshape(1, outer, rows // outer * columns))
    _along(x.reshape(outer, rows // outer, columns))


def _hadamard_runs(x: Vector) -> None:
    """Multiply runs of a column by a Hadamard matrix, and everything by the factor of both."""
    rows, columns = x.shape
    power = rows.bit_length() - 1
    # The length is such that the factor of both matrices, the root of their product, is a power of two.
    run = power if power <= 6 else 6 - power % 2
    _along(x.reshape(-1, 1 << run, columns), 2.0 ** (-(power + run) // 2))


def _along(x: Vector, factor: float = 1.0) -> None:
    """Multiply `(blocks, length, width)` by the Hadamard matrix of that length along its middle, in place."""
    blocks, length, width = x.shape
    at_once = min(blocks, max(1, _BATCH // (length * width)))
    wide = width if at_once > 1 else min(width, max(1, _BATCH // length))
    scratch = np.empty((2, at_once * length * wide), np.float32)
    for block in range(0, blocks, at_once):
        for start in range(0, width, wide):
            part = x[block : block + at_once, :, start : start + wide]
            _butterflies(part, *scratch[:, : part.size].reshape(2, *part.shape))
            if factor != 1:
                part *= np.float32(factor)


def _butterflies(x: Vector, one: Vector, other: Vector) -> None:
    """Sums and differences of pairs, of pairs of pairs, ..., in place; the two are overwritten."""
    blocks, length, width = x.shape
    values, half = x, 1
    while half < length:
        into = x if 2 * half == length and half > 1 else other if values is one else one
        pairs, found = (each.reshape(blocks, length // (2 * half), 2, half, width) for each in (values, into))
        np.add(pairs[:, :, 0], pairs[:, :, 1], out=found[:, :, 0])
        np.subtract(pairs[:, :, 0], pairs[:, :, 1], out=found[:, :, 1])
        values, half = into, 2 * half
    if values is not x:
        x[:] = values
