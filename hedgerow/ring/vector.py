"""One client's contribution and the sum of all: values, weight, metrics and streams, in two rings."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hedgerow.ring.arithmetic import Lanes, Ring
from hedgerow.types import Arrays, PayloadError

Words = NDArray[np.uint64]

MOST_CLIENTS = 4096
"""The largest cohort of a masked round."""

RING_FRACTION_BITS = 20
"""Metrics and streams, such as buffers, are multiples of 2**-20."""


@dataclass(frozen=True)
class Shape:
    """The shape of the vectors that all clients of a cohort send.

    Attributes:
        ring: ring of the values.
        length: number of values.
        metrics: names of the metrics.
        streams: number of values of the streams: the buffers, and the strategy's own.
        clients: size of the cohort.
    """

    ring: Ring
    length: int
    metrics: tuple[str, ...]
    streams: int
    clients: int

    @property
    def words(self) -> int:
        """Number of 64-bit words: the weight, two for each metric, and the streams."""
        return 1 + 2 * len(self.metrics) + self.streams


@dataclass(frozen=True)
class RingVector:
    """What one client adds to the sum.

    Attributes:
        values: `(length,)` lanes of the shape's ring.
        words: `(words,) uint64`, modulo 2**64.
    """

    # One client's contribution is confidential: it must not appear in a log.
    values: Lanes = field(repr=False)
    words: Words = field(repr=False)


class RingSum:
    """The sum of the clients' vectors: the same bits in any order and grouping."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.values = np.zeros(shape.length, shape.ring.dtype)
        self.words = np.zeros(shape.words, np.uint64)

    def add(self, vector: RingVector) -> None:
        """Add a client's vector.

        Raises:
            PayloadError: its shape or dtype is wrong; nothing is added then.
        """
        for mine, theirs in ((self.values, vector.values), (self.words, vector.words)):
            if (mine.shape, mine.dtype) != (theirs.shape, theirs.dtype):
                raise PayloadError(
                    f"it has {theirs.dtype} {theirs.shape}; {mine.dtype} {mine.shape} is allowed"
                )
        self.values += vector.values
        self.words += vector.words

    def merge(self, other: "RingSum") -> None:
        """Add another partial sum of the same cohort."""
        self.add(RingVector(other.values, other.words))

    @property
    def weight(self) -> int:
        """Total weight."""
        return int(self.words[0])

    def total(self) -> NDArray[np.int64]:
        """The weighted sum of the integers, `(length,) int64`."""
        ring = self.shape.ring
        return ring.signed(ring.reduced(self.values.copy()))

    def mean(self) -> NDArray[np.float64]:
        """The weighted mean of the integers, `(length,) float64`, for the pipeline's `decode`."""
        return self.total() / self.weight

    def metrics(self) -> Mapping[str, float]:
        """Each metric's mean, weighted by examples; metrics that no client sent are omitted."""
        signed = self.words.view(np.int64)
        means = {}
        for place, name in enumerate(self.shape.metrics):
            examples, total = (int(number) for number in signed[1 + 2 * place : 3 + 2 * place])
            if examples > 0:
                means[name] = total / examples / 2**RING_FRACTION_BITS
        return means

    def streams(self) -> NDArray[np.float32]:
        """The weighted mean of the streams, `(streams,) float32`."""
        signed = self.words.view(np.int64)[self.shape.words - self.shape.streams :]
        return (signed / (self.weight * 2.0**RING_FRACTION_BITS)).astype(np.float32)


def open_payload(vector: RingVector, shape: Shape) -> Arrays:
    """A vector as the arrays of a message, unmasked: for a simulation only."""
    return {"values": shape.ring.pack(vector.values), "words": vector.words}


def read_vector(arrays: Arrays, shape: Shape) -> RingVector:
    """Undo `open_payload`; a masked vector has the same form.

    Raises:
        PayloadError: it does not have this form.
    """
    if sorted(arrays) != ["values", "words"]:
        raise PayloadError(f"there are the arrays {sorted(arrays)}; 'values' and 'words' are allowed")
    packed, words = arrays["values"], arrays["words"]
    if packed.dtype != np.uint8 or packed.ndim != 1:
        raise PayloadError(f"'values' is {packed.dtype} {packed.shape}; it must be one-dimensional uint8")
    if words.dtype != np.uint64 or words.shape != (shape.words,):
        raise PayloadError(f"'words' is {words.dtype} {words.shape}; it must be uint64 ({shape.words},)")
    return RingVector(shape.ring.unpack(packed, shape.length), words)
