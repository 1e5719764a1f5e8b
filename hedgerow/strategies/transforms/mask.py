"""What is summed under a mask: values, weight, metrics and buffers, as numbers of two rings.

The protocol itself is in `hedgerow.secure`. Here is what it adds up, and what
a simulation may add up without masks: the same numbers in the same rings.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.strategies.pipeline.payload_checks import take
from hedgerow.strategies.pipeline.transform import Transform
from hedgerow.strategies.ring import Lanes, Ring, ring_for, ring_within
from hedgerow.strategies.secrecy import SecureAggregation
from hedgerow.types import Arrays, Fit, Layout, Model, Payload, PayloadError, RoundContext, hash_constants

Words = NDArray[np.uint64]

MOST_CLIENTS = 4096
FRACTION_BITS = 20
"""Metrics and buffers are multiples of 2**-20."""

METRIC_RANGE = 1024.0
"""Metrics are cut to this size."""

_MOST_EXAMPLES = 2**20
_WORD_RANGE = 2.0**62


def mask(
    corrupt: float = 0.2,
    dropout: float = 0.2,
    min_clients: int = 10,
    failure_bits: int = 40,
    metrics: str = "loss",
) -> Transform:
    """Let the server see nothing of clients but the sum of all of them.

    Secure aggregation of Bell et al. 2020 (SecAgg+, eprint 2020/704), see
    `docs/secure-aggregation.md`. It comes last, after a quantiser with a range:
    what is masked are whole numbers in a ring that holds the sum of the cohort.
    The weight, metrics and buffers are summed under the mask too.

    Args:
        corrupt: largest share of a cohort that works together with the server.
        dropout: largest share of a cohort that leaves before the end.
        min_clients: smallest cohort that a client takes part in.
        failure_bits: the chance that these shares are not withstood, in a
            round, is at most `2**-failure_bits`.
        metrics: names of the metrics that are summed, with spaces between.
            Each is cut to 1024 and rounded to 2**-20; no others are sent, and
            none after a noise, which they would not have.

    Raises:
        ValueError: an argument is out of range.

    >>> from hedgerow.strategies import chain, clip, quantize
    >>> chain(clip(1.0), quantize(8, range=1.0), mask()).only_sum
    True
    """
    default = SecureAggregation()
    secure = SecureAggregation(
        float(corrupt), float(dropout), int(min_clients), int(failure_bits), tuple(metrics.split())
    )
    shown = {
        name: " ".join(value) if name == "metrics" else value
        for name, value in vars(secure).items()
        if value != getattr(default, name)
    }

    def decode(payload: Payload, n: int, context: RoundContext) -> Payload:
        if not context.sender.is_sum:
            raise PayloadError("it is masked; only the sum of a cohort can be decoded")
        return payload

    return Transform(
        name=f"mask({', '.join(f'{name}={value!r}' for name, value in shown.items())})",
        kinds=("mask",),
        encode=lambda payload, state, context: (payload, {}),
        decode=decode,
        summable=True,
        only_sum=True,
        secure=secure,
    )


@dataclass(frozen=True)
class Shape:
    """What every client of a cohort sends.

    Attributes:
        ring: of the values.
        length: number of values.
        metrics: names of the metrics.
        buffers: number of buffers.
        clients: size of the cohort.
    """

    ring: Ring
    length: int
    metrics: tuple[str, ...]
    buffers: int
    clients: int

    @property
    def words(self) -> int:
        """Numbers of 64 bits: the weight, two for each metric, and the buffers."""
        return 1 + 2 * len(self.metrics) + self.buffers

    @classmethod
    def of(cls, pipeline: Transform, layout: Layout, clients: int) -> Self:
        """The shape for a cohort; the same on every client and on the server.

        Raises:
            ValueError: the sum would not fit into 32 bits, or the cohort is too large.
        """
        checks.whole(1, MOST_CLIENTS, clients=clients)
        length = pipeline.length(layout.dimension)
        if pipeline.largest_sum is None:
            ring = ring_for(clients, pipeline.max_weight, pipeline.whole(0))
        else:
            size = pipeline.max_weight * pipeline.largest_sum(0, clients, length)
            ring = ring_within(size, f"{clients} clients in {pipeline.name}")
        metrics = pipeline.secure.metrics if pipeline.secure else ()
        return cls(ring, length, metrics, layout.buffer_size, clients)


@dataclass(frozen=True)
class RingVector:
    """What one client adds to the sum.

    Attributes:
        values: `(length,)` lanes of the shape's ring.
        words: `(words,) uint64`, modulo 2**64.
    """

    # What one client adds is its own: no log shows it.
    values: Lanes = field(repr=False)
    words: Words = field(repr=False)


def to_ring(payload: Payload, fit: Fit, shape: Shape, pipeline: Transform) -> RingVector:
    """An encoded payload, its weight, metrics and buffers, as numbers of the rings.

    Raises:
        ValueError: a number could make the sum overflow, or the weight is not whole.
    """
    if fit.buffers.size and pipeline.noise is not None:
        raise ValueError(
            f"the model has {fit.buffers.size} values that are not trained, whose sum would have no noise;"
            " use GroupNorm, or a model without them"
        )
    numbers = take(payload, "values", np.signedinteger)
    largest, weight = pipeline.whole(0), payload.weight
    if not (float(weight).is_integer() and 1 <= weight <= pipeline.max_weight):
        raise ValueError(f"the weight is {weight}; it must be whole, from 1 to {pipeline.max_weight}")
    if len(numbers) and max(int(numbers.max()), -int(numbers.min())) > largest:
        raise ValueError(f"a value is beyond {largest}; {pipeline.name} must keep them within it")
    values = shape.ring.put(numbers)
    if weight != 1:
        values *= shape.ring.dtype.type(int(weight) % 2 ** (8 * values.itemsize))
    words = [int(weight)]
    for name in shape.metrics:
        words += _metric(fit.metrics.get(name), fit.num_examples)
    limit = _WORD_RANGE / shape.clients
    buffers = np.rint(fit.buffers.astype(np.float64) * (weight * 2.0**FRACTION_BITS))
    if not (np.abs(buffers) <= limit).all():
        raise ValueError(
            f"a buffer is beyond {limit / weight / 2**FRACTION_BITS:.4g} in size, or not finite; it cannot be"
            " summed under a mask"
        )
    return RingVector(
        shape.ring.reduced(values),
        np.concatenate([np.array(words, np.int64), buffers.astype(np.int64)]).view(np.uint64),
    )


def _metric(value: float | None, examples: int) -> list[int]:
    """A metric as its examples, and its sum over them; twice 0 where the client has none."""
    if value is None or math.isnan(value):
        return [0, 0]
    counted = min(examples, _MOST_EXAMPLES)
    cut = max(-METRIC_RANGE, min(METRIC_RANGE, value))
    return [counted, counted * round(cut * 2**FRACTION_BITS)]


class RingSum:
    """The sum of what clients add; in whatever order and parts, the same bits."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.values = np.zeros(shape.length, shape.ring.dtype)
        self.words = np.zeros(shape.words, np.uint64)

    def add(self, vector: RingVector) -> None:
        """Count a client in.

        Raises:
            PayloadError: it has another form; nothing is added then.
        """
        for mine, theirs in ((self.values, vector.values), (self.words, vector.words)):
            if (mine.shape, mine.dtype) != (theirs.shape, theirs.dtype):
                raise PayloadError(
                    f"it has {theirs.dtype} {theirs.shape}; {mine.dtype} {mine.shape} is allowed"
                )
        self.values += vector.values
        self.words += vector.words

    def merge(self, other: "RingSum") -> None:
        """Count in what was added to another sum of the same cohort."""
        self.add(RingVector(other.values, other.words))

    @property
    def weight(self) -> int:
        """Total weight."""
        return int(self.words[0])

    def total(self) -> NDArray[np.int64]:
        """The weighted sum of the whole numbers, `(length,)`."""
        ring = self.shape.ring
        return ring.signed(ring.reduced(self.values.copy()))

    def mean(self) -> NDArray[np.float64]:
        """The weighted mean of the whole numbers, `(length,)`; for `decode` of the pipeline."""
        return self.total() / self.weight

    def metrics(self) -> Mapping[str, float]:
        """Each metric's mean, weighted by examples; those that no client sent are left out."""
        signed = self.words.view(np.int64)
        means = {}
        for place, name in enumerate(self.shape.metrics):
            examples, total = (int(number) for number in signed[1 + 2 * place : 3 + 2 * place])
            if examples > 0:
                means[name] = total / examples / 2**FRACTION_BITS
        return means

    def buffers(self) -> NDArray[np.float32]:
        """The weighted mean of the buffers, `(b,)`."""
        signed = self.words.view(np.int64)[self.shape.words - self.shape.buffers :]
        return (signed / (self.weight * 2.0**FRACTION_BITS)).astype(np.float32)


def open_payload(vector: RingVector, shape: Shape) -> Arrays:
    """A vector as the arrays of a message, unmasked: for a simulation only."""
    return {"values": shape.ring.pack(vector.values), "words": vector.words}


def read_vector(arrays: Arrays, shape: Shape) -> RingVector:
    """Undo `open_payload`; a masked vector has the same form.

    Raises:
        PayloadError: it has not.
    """
    if sorted(arrays) != ["values", "words"]:
        raise PayloadError(f"there are the arrays {sorted(arrays)}; 'values' and 'words' are allowed")
    packed, words = arrays["values"], arrays["words"]
    if packed.dtype != np.uint8 or packed.ndim != 1:
        raise PayloadError(f"'values' is {packed.dtype} {packed.shape}; it must be one-dimensional uint8")
    if words.dtype != np.uint64 or words.shape != (shape.words,):
        raise PayloadError(f"'words' is {words.dtype} {words.shape}; it must be uint64 ({shape.words},)")
    return RingVector(shape.ring.unpack(packed, shape.length), words)


def model_hash(model: Model, layout: Layout, seed: int, round: int) -> bytes:
    """SHA-256 of all that training depends on; that clients agree on it is part of their signatures.

    With different models for different clients, the server could find one
    client's update in the sum (Pasquini et al. 2022, arXiv:2111.07380).
    """
    found = hashlib.sha256(f"{layout.fingerprint} {seed} {round} {len(model.parameters)} ".encode())
    for values in (model.parameters, model.buffers):
        found.update(np.ascontiguousarray(values, "<f4").data)
    if layout.constants:
        found.update(hash_constants(model.constants).encode())
    return found.digest()
