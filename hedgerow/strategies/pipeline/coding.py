"""Run a pipeline: encode a delta on the client, check and decode it on the server."""

from math import isfinite

import numpy as np

from hedgerow.strategies.pipeline.payload_checks import check_values, require_finite, take
from hedgerow.strategies.pipeline.transform import Transform
from hedgerow.types import Arrays, Layout, Payload, PayloadError, RoundContext, Vector


def encode(
    pipeline: Transform, delta: Vector, state: Arrays, context: RoundContext, *, finite: bool = False
) -> tuple[Payload, Arrays]:
    """Encode a client's delta `(d,) float32`; returns the payload and the client's new state.

    `finite` says that the delta is known to be finite.

    Raises:
        ValueError: the delta has a wrong dtype or shape, or is not finite.
    """
    d = context.layout.dimension
    if delta.dtype != np.float32 or delta.shape != (d,):
        raise ValueError(f"the delta is {delta.dtype} {delta.shape}; it must be float32 {(d,)}")
    if not finite:
        require_finite("the delta", delta)
    payload, state = pipeline.encode(Payload({"values": delta}), state, context)
    return payload, state


def decode(pipeline: Transform, payload: Payload, context: RoundContext) -> Vector:
    """Decode a payload into a delta `(d,) float32`.

    Raises:
        PayloadError: this pipeline cannot have produced the payload.
    """
    d = context.layout.dimension
    if not context.sender.is_sum:
        check_payload(pipeline, payload, context.layout)
    decoded = pipeline.decode(payload, d, context)
    with np.errstate(over="ignore"):
        decoded = decoded.replace(take(decoded, "values", np.floating).astype(np.float32, copy=False))
    check_values(decoded, d, np.float32)
    return decoded.values


def check_payload(pipeline: Transform, payload: Payload, layout: Layout, *, finite: bool = True) -> None:
    """Refuse an invalid payload of one client, even if it is added to a sum before it is decoded.

    Checks the weight and, for a summable pipeline, the values; `decode` checks
    the rest. If `finite` is false, the caller must check that the values are
    finite.

    Raises:
        PayloadError: says what was given and what is allowed.
    """
    if not (isfinite(payload.weight) and payload.weight > 0):
        raise PayloadError(f"the weight is {payload.weight}; it must be a number above 0")
    if "weight" not in pipeline.kinds and payload.weight != 1:
        raise PayloadError(f"the weight is {payload.weight}; every client has weight 1 in {pipeline.name}")
    if pipeline.summable:
        check_values(payload, pipeline.length(layout.dimension), pipeline.summed, finite=finite)
