"""What is summed under a mask: values, weight, metrics and streams, as elements of two rings.

The protocol itself is in `hedgerow.secure`. This module builds the vectors that
it sums; a simulation may sum the same vectors, in the same rings, without masks.
"""

import hashlib
import math

import numpy as np

from hedgerow import checks
from hedgerow.ring.arithmetic import ring_for, ring_within
from hedgerow.ring.secagg import SecureAggregation
from hedgerow.ring.vector import MOST_CLIENTS, RING_FRACTION_BITS, RingVector, Shape
from hedgerow.strategies.pipeline.payload_checks import take
from hedgerow.strategies.pipeline.transform import Transform
from hedgerow.strategies.protection import Protection
from hedgerow.types import Fit, Layout, Model, Payload, PayloadError, RoundContext, Vector

METRIC_RANGE = 1024.0
"""Metrics are clipped to this absolute value."""

MOST_EXAMPLES = 2**20
"""No client's metric counts for more samples."""

_WORD_RANGE = 2.0**62

_NO_VALUES: Vector = np.empty(0, np.float32)


@checks.arguments
def mask(
    corrupt: float = 0.2,
    dropout: float = 0.2,
    min_clients: int = 10,
    failure_bits: int = 40,
    metrics: str = "loss",
    measured: str = "loss accuracy mae",
) -> Transform:
    """Let the server see only the sum of all clients.

    Secure aggregation of Bell et al. 2020 (SecAgg+, eprint 2020/704), see
    `docs/secure-aggregation.md`. It comes last, after a quantiser with a range:
    it masks integers in a ring that holds the sum of the cohort. The weight,
    metrics, buffers and masked streams are summed under the mask too.

    Args:
        corrupt: largest fraction of a cohort that colludes with the server.
        dropout: largest fraction of a cohort that drops out before the end.
        min_clients: smallest cohort in which a client takes part.
        failure_bits: the probability that a round does not tolerate these
            fractions is at most `2**-failure_bits`.
        metrics: names of the metrics that are summed, separated by spaces.
            Each is clipped to 1024 and rounded to 2**-20; no others are sent, and
            none after a noise step, because they would have no noise.
        measured: names of the metrics that are summed when clients evaluate a
            model on their held-out samples, see `strategies.measuring`.

    Raises:
        ValueError: an argument is out of range.

    >>> from hedgerow.strategies import chain, clip, quantize
    >>> chain(clip(1.0), quantize(8, range=1.0), mask()).sum_only
    True
    """
    checks.probability(corrupt=corrupt, dropout=dropout)
    checks.kind(str, ", of names separated by spaces", metrics=metrics)
    checks.kind(str, ", of names separated by spaces", measured=measured)
    default = SecureAggregation()
    secure = SecureAggregation(
        float(corrupt), float(dropout), min_clients, failure_bits, tuple(metrics.split()),
        measured=tuple(measured.split()),
    )  # fmt: skip
    shown = {
        name: " ".join(value) if isinstance(value, tuple) else value
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
        protection=Protection(secure=secure),
    )


def shape_of(pipeline: Transform, layout: Layout, clients: int, beside: int = 0) -> Shape:
    """The shape of a cohort's vectors, the same on every client and on the server.

    Args:
        pipeline: of the strategy.
        layout: of the model.
        clients: size of the cohort.
        beside: number of values of the strategy's own streams (`Strategy.sent_beside`).

    Raises:
        ValueError: the sum would not fit into 32 bits, or the cohort is too large.
    """
    checks.whole(1, MOST_CLIENTS, clients=clients)
    length = pipeline.length(layout.dimension)
    protection = pipeline.protection
    if protection.max_sum is None:
        ring = ring_for(clients, pipeline.max_weight, protection.max_int(0))
    else:
        size = pipeline.max_weight * protection.max_sum(0, clients, length)
        ring = ring_within(size, f"{clients} clients in {pipeline.name}")
    metrics = protection.secure.metrics if protection.secure else ()
    return Shape(ring, length, metrics, layout.buffer_size + beside, clients)


def to_ring(
    payload: Payload, fit: Fit, shape: Shape, pipeline: Transform, beside: Vector = _NO_VALUES
) -> RingVector:
    """An encoded payload, its weight, metrics, buffers and streams, as elements of the rings.

    Args:
        payload: the encoded delta.
        fit: has metrics and buffers.
        shape: of the cohort's vectors.
        pipeline: of the strategy.
        beside: values of the strategy's own streams.

    Raises:
        ValueError: a number could make the sum overflow, or the weight is not an integer.
    """
    if fit.buffers.size and pipeline.protection.noise is not None:
        raise ValueError(
            f"the model has {fit.buffers.size} values that are not trained, whose sum would get no noise;"
            " use GroupNorm, or a model without them"
        )
    numbers = take(payload, "values", np.signedinteger)
    largest, weight = pipeline.protection.max_int(0), payload.weight
    if not (float(weight).is_integer() and 1 <= weight <= pipeline.max_weight):
        raise ValueError(f"the weight is {weight}; it must be whole, from 1 to {pipeline.max_weight}")
    if len(numbers) and max(int(numbers.max()), -int(numbers.min())) > largest:
        raise ValueError(f"a value exceeds {largest}; {pipeline.name} must keep values within it")
    values = shape.ring.put(numbers)
    if weight != 1:
        values *= shape.ring.dtype.type(int(weight) % 2 ** (8 * values.itemsize))
    words = [int(weight)]
    for name in shape.metrics:
        value = fit.metrics.get(name)
        words += metric_words(None if value is None or math.isnan(value) else value, fit.num_examples)
    limit = _WORD_RANGE / shape.clients
    streams = np.concatenate([fit.buffers, beside]).astype(np.float64)
    streams = np.rint(streams * (weight * 2.0**RING_FRACTION_BITS))
    if not (np.abs(streams) <= limit).all():
        raise ValueError(
            f"a buffer, or a value of a stream, exceeds {limit / weight / 2**RING_FRACTION_BITS:.4g} in"
            " absolute value, or is not finite; it cannot be summed under a mask"
        )
    return RingVector(
        shape.ring.reduced(values),
        np.concatenate([np.array(words, np.int64), streams.astype(np.int64)]).view(np.uint64),
    )


def metric_words(value: float | None, examples: int) -> list[int]:
    """A metric as its number of examples and its sum over them, in multiples of 2**-20; both 0 without one.

    The absolute sum over `MOST_CLIENTS` clients is at most 2**62 for any values: 2**12 clients times 2**20
    examples times 2**10, the largest value, times 2**20.

    >>> metric_words(0.75, 8), metric_words(float("inf"), 2**40) == [2**20, 2**50]
    ([8, 6291456], True)
    """
    if value is None:
        return [0, 0]
    counted = min(examples, MOST_EXAMPLES)
    cut = max(-METRIC_RANGE, min(METRIC_RANGE, value))
    return [counted, round(counted * cut * 2**RING_FRACTION_BITS)]


def model_hash(model: Model, layout: Layout, seed: int, round: int) -> bytes:
    """SHA-256 of everything that training depends on; the clients' signatures cover it.

    With different models for different clients, the server could find one
    client's update in the sum (Pasquini et al. 2022, arXiv:2111.07380).
    """
    found = hashlib.sha256(f"{layout.fingerprint} {seed} {round} {len(model.parameters)} ".encode())
    for values in (model.parameters, model.buffers, model.constants):
        found.update(np.ascontiguousarray(values, "<f4").data)
    return found.digest()
