"""Ternary updates: the largest values, each as plus or minus their mean."""

import numpy as np

from hedgerow import checks
from hedgerow.ring.golomb import pack_positions, unpack_positions
from hedgerow.ring.packing import pack, unpack
from hedgerow.strategies.pipeline.payload_checks import require_finite, take
from hedgerow.strategies.pipeline.transform import Transform
from hedgerow.strategies.protection import Protection
from hedgerow.strategies.transforms.positions import count, largest, scatter
from hedgerow.types import Arrays, Payload, PayloadError, RoundContext


@checks.arguments
def ternary(fraction: float = 0.01) -> Transform:
    """Send the signs of the values of largest magnitude, their positions, and their mean magnitude.

    With `k` and ties as in `top_k`, each of the `k` values is sent as `-mu` or `mu`, `mu` the mean of their
    magnitudes, which has the least error (Sattler et al. 2019, arXiv:1903.02891). Biased: put it inside
    `error_feedback`, which makes it the uplink of their sparse ternary compression (STC). The error never
    exceeds the input.

    Arrays: `"values"`, `ceil(k / 8)` bytes, a 1 for each value that is not negative; `"scales"`, `mu`,
    `(1,) float32`; `"indices"`, uint8, a Golomb code, see `pack_positions`: of 1 %, about 9.1 bits a value.

    Raises:
        ValueError: `fraction` is not above 0 and at most 1; when encoding, a
            value is not finite.

    >>> from hedgerow.strategies import decode, encode
    >>> from hedgerow.types import Client, Layout
    >>> context = RoundContext(seed=1, round=1, sender=Client("a"), layout=Layout.flat(4))
    >>> payload, _ = encode(ternary(0.5), np.array([1, -4, 0, 2], np.float32), {}, context)
    >>> decode(ternary(0.5), payload, context).tolist()
    [0.0, -3.0, 0.0, 3.0]
    """
    checks.fraction(fraction=fraction)
    fraction = float(fraction)
    name = f"ternary({fraction!r})"

    def encode(payload: Payload, state: Arrays, context: RoundContext) -> tuple[Payload, Arrays]:
        x = payload.values
        require_finite(name, x)
        indices = largest(np.abs(x), count(fraction, len(x)))
        sent = x[indices]
        mean = np.abs(sent).mean(dtype=np.float64, keepdims=True) if len(sent) else np.zeros(1)
        signs = pack((sent >= 0).astype(np.uint8), 1)
        positions = pack_positions(indices, len(x))
        return payload.replace(signs, scales=mean.astype(np.float32), indices=positions), {}

    def decode(payload: Payload, n: int, context: RoundContext) -> Payload:
        packed, scales = take(payload, "values", np.uint8), take(payload, "scales", np.float32)
        k = count(fraction, n)
        if len(scales) != 1:
            raise PayloadError(f"{name}: there are {len(scales)} scales; there must be 1")
        if not (np.isfinite(scales) & (scales >= 0)).all():
            raise PayloadError(f"{name}: a scale is negative or not finite; it must be 0 or above")
        signs = unpack(packed, 1, k).astype(np.float32) * 2 - 1
        indices = unpack_positions(take(payload, "indices", np.uint8), n, k)
        others = {key: array for key, array in payload.arrays.items() if key not in ("scales", "indices")}
        return Payload({**others, "values": scatter(signs * scales, indices, n, name)}, payload.weight)

    return Transform(
        name=name,
        kinds=("sparsify", "quantize"),
        encode=encode,
        decode=decode,
        length=lambda n: count(fraction, n),
        unbiased=False,
        protection=Protection(max_int=lambda largest: 0),
        code_bits=1,
    )
