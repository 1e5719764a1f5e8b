"""A transform: each value as a sign and a power of two, in a byte."""

import numpy as np

from hedgerow.rng import generator
from hedgerow.strategies.pipeline.payload_checks import require_finite, take
from hedgerow.strategies.pipeline.transform import Transform
from hedgerow.types import Arrays, Payload, RoundContext

_LOWEST = -100  # of the exponents that are sent; what is smaller is sent as zero


def natural_compression() -> Transform:
    """Round to the power of two above or below, at random and without bias (arXiv:1905.10988, definition 2).

    The array `"values"` is `(n,) uint8`: 0 for zero, else twice the exponent, counted from 1, and the sign.
    """

    def encode(payload: Payload, state: Arrays, context: RoundContext) -> tuple[Payload, Arrays]:
        require_finite("natural_compression()", payload.values)
        draw = generator(context.seed, "natural", round=context.round, client=context.client)
        # A size is mantissa * 2**exponent, with a mantissa from 1/2 to 1.
        mantissa, exponent = np.frexp(np.abs(payload.values))
        exponent = exponent - 1 + (draw.random(len(mantissa), dtype=np.float32) < 2 * mantissa - 1)
        codes = 2 * (np.clip(exponent, _LOWEST, _LOWEST + 126) - _LOWEST + 1) + (payload.values < 0)
        sent = np.where((mantissa == 0) | (exponent < _LOWEST), 0, codes)
        return payload.replace(sent.astype(np.uint8)), {}

    def decode(payload: Payload, n: int, context: RoundContext) -> Payload:
        codes = take(payload, "values", np.uint8).astype(np.int64)
        size = np.ldexp(np.float32(1), codes // 2 - 1 + _LOWEST) * np.where(codes % 2, -1, 1)
        return payload.replace(np.where(codes < 2, 0, size).astype(np.float32))

    return Transform("natural_compression()", ("quantize",), encode, decode)
