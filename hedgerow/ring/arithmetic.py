"""Integers modulo a power of two: sums are exact, and masks cancel."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.ring.packing import Bytes, pack, packed_bytes, unpack
from hedgerow.types import PayloadError

MOST_BITS = 32
"""Bits of the largest ring."""

Lanes = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class Ring:
    """The integers modulo `2**bits`.

    Numbers are stored in unsigned lanes of 8, 16 or 32 bits, the narrowest that
    holds them. Lanes wrap on overflow at a multiple of `2**bits`, so numbers are
    added lane by lane and reduced once, at the end.

    >>> ring = Ring(9)
    >>> total = ring.put(np.array([-3, 200])) + ring.put(np.array([1, 55]))
    >>> ring.signed(total).tolist()
    [-2, 255]
    """

    bits: int

    def __post_init__(self) -> None:
        checks.whole(1, MOST_BITS, bits=self.bits)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a lane."""
        return np.dtype("u1" if self.bits <= 8 else "<u2" if self.bits <= 16 else "<u4")

    def put(self, numbers: NDArray[np.signedinteger[Any]]) -> Lanes:
        """Integers, including negative ones, as lanes."""
        return numbers.astype(self.dtype)

    def reduced(self, lanes: Lanes) -> Lanes:
        """The lanes modulo `2**bits`, in place."""
        if self.bits < 8 * self.dtype.itemsize:
            lanes &= self.dtype.type((1 << self.bits) - 1)
        return lanes

    def signed(self, lanes: Lanes) -> NDArray[np.int64]:
        """Lanes as integers from `-2**(bits - 1)` up to, but not including, `2**(bits - 1)`."""
        free = 8 * self.dtype.itemsize - self.bits
        shifted = (lanes << self.dtype.type(free)).view(f"<i{self.dtype.itemsize}")
        numbers: NDArray[np.int64] = (shifted >> free).astype(np.int64)
        return numbers

    def pack(self, lanes: Lanes) -> Bytes:
        """Reduced lanes in `bits` bits each, little-endian."""
        if self.bits == 8 * self.dtype.itemsize:
            return lanes.view(np.uint8)
        return pack(lanes, self.bits)

    def unpack(self, packed: Bytes, count: int) -> Lanes:
        """Undo `pack`.

        Raises:
            PayloadError: its size is not that of `count` packed values.
        """
        if len(packed) != packed_bytes(count, self.bits):
            raise PayloadError(
                f"there are {len(packed)} bytes; {count} numbers of {self.bits} bits take"
                f" {packed_bytes(count, self.bits)}"
            )
        if self.bits == 8 * self.dtype.itemsize:
            return packed.view(self.dtype) if packed.flags.aligned else packed.copy().view(self.dtype)
        return unpack(packed, self.bits, count)


def ring_for(clients: int, weight: int, largest: int) -> Ring:
    """The smallest ring in which a sum cannot overflow.

    A sum of `clients` numbers, each at most `weight * largest` in absolute value,
    lies between `-n w l` and `n w l`: the ring must hold all of these numbers.

    Raises:
        ValueError: it would be wider than 32 bits.

    >>> ring_for(clients=100, weight=1, largest=7).bits
    11
    """
    checks.whole(1, clients=clients, weight=weight, largest=largest)
    whose = f"{clients} clients of weight {weight} at most and values up to {largest}"
    return ring_within(clients * weight * largest, whose)


def ring_within(size: int, whose: str) -> Ring:
    """The smallest ring that holds all integers from `-size` to `size`.

    Args:
        size: at least 1.
        whose: what is summed, for the error.

    Raises:
        ValueError: it would be wider than 32 bits.
    """
    bits = (2 * size).bit_length()
    if bits > MOST_BITS:
        raise ValueError(
            f"the sum of {whose} needs a ring of {bits} bits; {MOST_BITS} are allowed: send fewer bits, lower"
            " the largest weight (weight_by_examples(max_weight=...)), or ask fewer clients"
        )
    return Ring(bits)
