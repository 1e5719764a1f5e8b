"""Quantisation to integers on a scale that all clients share."""

import numpy as np

from hedgerow import checks
from hedgerow.rng import generator
from hedgerow.strategies.pipeline.payload_checks import require_finite, take
from hedgerow.strategies.pipeline.transform import Transform
from hedgerow.strategies.protection import Protection
from hedgerow.types import Arrays, Payload, RoundContext


def quantize_within(range: float, bits: int, rounding: str, block: str | int) -> Transform:
    """`quantize` with one range for all clients: the values become integers that can be summed."""
    checks.positive(range=range)
    checks.whole(2, 16, bits=bits)
    if block != "tensor":
        raise ValueError(
            f"block is {block!r} and range is {range!r}; a range applies to all values: leave out block"
        )
    largest, top = float(range), 2 ** (bits - 1) - 1
    how = "" if rounding == "stochastic" else f", rounding={rounding!r}"
    name = f"quantize({bits}{how}, range={largest!r})"

    def encode(payload: Payload, state: Arrays, context: RoundContext) -> tuple[Payload, Arrays]:
        x = payload.values
        require_finite(name, x)
        # Clip first, then multiply: x * top could overflow.
        y = np.clip(x, np.float32(-largest), np.float32(largest)) * np.float32(top / largest)
        if rounding == "nearest":
            level = np.rint(y)
        else:
            draw = generator(context.seed, "quantize", round=context.round, client=context.client)
            level = np.floor(y)
            y -= level
            level += draw.random(len(y), dtype=np.float32) < y
        # The factor is rounded, so the product may be slightly out of range.
        return payload.replace(np.clip(level, -top, top, out=level).astype(np.int32)), {}

    def decode(payload: Payload, n: int, context: RoundContext) -> Payload:
        values = np.multiply(take(payload, "values", np.number), largest / top, dtype=np.float64)
        return payload.replace(values.astype(np.float32))

    return Transform(
        name=name,
        kinds=("quantize",),
        encode=encode,
        decode=decode,
        summable=True,
        unbiased=rounding == "stochastic",
        contractive=rounding != "stochastic",
        protection=Protection(max_int=lambda before: top),
    )
