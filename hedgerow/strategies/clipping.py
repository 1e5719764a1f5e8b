"""Bound how much one client can say."""

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.strategies.transform import Transform, require_finite
from hedgerow.types import Arrays, Payload, RoundContext, Vector


def clip(norm: float) -> Transform:
    """Scale the whole vector down to an l2 norm of at most `norm`.

    The norm is computed in float64, and the bound holds for the float32 values
    that are sent, rounding included. A vector within the bound is sent as it
    is. Decoding changes nothing (McMahan et al. 2018, arXiv:1710.06963, "flat
    clipping").

    Raises:
        ValueError: `norm` is not a finite number above 0; when encoding, a
            value is not finite.

    >>> from hedgerow.strategies import encode
    >>> from hedgerow.types import Layout, RoundContext
    >>> context = RoundContext(seed=1, round=1, client="a", layout=Layout.flat(2))
    >>> encode(clip(1.0), np.array([3, 4], np.float32), {}, context)[0].values.tolist()
    [0.5999999642372131, 0.7999999523162842]
    """
    checks.positive(norm=norm)
    bound = float(norm)
    name = f"clip({bound!r})"

    def encode(payload: Payload, state: Arrays, context: RoundContext) -> tuple[Payload, Arrays]:
        require_finite(name, payload.values)
        return payload.replace(clipped(payload.values, bound)), {}

    return Transform(
        name=name,
        kinds=("clip",),
        encode=encode,
        decode=lambda payload, n, context: payload,
        summable=True,
        unbiased=False,
        sensitivity=lambda before: min(before, bound),
    )


def l2_norm(values: NDArray[np.float32]) -> float:
    """The l2 norm, summed in float64 without BLAS, whose order of adding depends on its threads.

    >>> l2_norm(np.array([3, 4], np.float32))
    5.0
    """
    return float(np.sqrt(np.square(values, dtype=np.float64).sum()))


def clipped(values: Vector, bound: float) -> Vector:
    """The values, scaled down to an l2 norm of at most `bound` where they exceed it."""
    length = l2_norm(values)
    if length <= bound:
        return values
    scaled = np.multiply(values, bound / length, dtype=np.float64).astype(np.float32)
    # Rounding to float32 may have gone up; each step below is one unit in the last place.
    while l2_norm(scaled) > bound:
        scaled = np.nextafter(scaled, np.float32(0))
    return scaled
