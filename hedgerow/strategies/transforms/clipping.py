"""Clipping: bound one client's contribution."""

import numpy as np

from hedgerow import checks
from hedgerow.strategies.norms import clipped
from hedgerow.strategies.pipeline.payload_checks import require_finite
from hedgerow.strategies.pipeline.transform import Transform
from hedgerow.strategies.protection import Protection
from hedgerow.strategies.release import ServerClip
from hedgerow.types import Arrays, Payload, RoundContext

SMALLEST_NORM, LARGEST_NORM = 1e-5, 1e4
"""Bounds of an adaptive norm; large cohorts lower the upper one, see `NoisyAggregation.largest_norm`."""


@checks.arguments
def clip(norm: float) -> Transform:
    """Scale the whole vector down to an l2 norm of at most `norm`.

    The norm is computed in float64, and the bound holds for the float32 values
    that are sent, including rounding. A vector within the bound is sent
    unchanged. Decoding changes nothing (McMahan et al. 2018, arXiv:1710.06963,
    "flat clipping").

    Raises:
        ValueError: `norm` is not a finite number above 0; when encoding, a
            value is not finite.

    >>> from hedgerow.strategies import encode
    >>> from hedgerow.types import Client, Layout, RoundContext
    >>> context = RoundContext(seed=1, round=1, sender=Client("a"), layout=Layout.flat(2))
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
        protection=Protection(server_clip=ServerClip(norm=lambda state: bound)),
    )


@checks.arguments
def adaptive_clip(
    initial: float = 0.1, quantile: float = 0.5, learning_rate: float = 0.2, share: float = 0.01
) -> Transform:
    """Clip to a norm that follows a quantile of the clients' norms.

    After a round with a fraction `b` of the clients within the norm `C`, the next
    norm is `C exp(-learning_rate (b - quantile))` (Andrew et al. 2021,
    arXiv:1905.03871, algorithm 1). `b` is noisy: each client's answer is one
    more value of its contribution, under the same noise, and takes `share` of
    the squared sensitivity. With noise multiplier `z`, the delta has
    `z / sqrt(1 - share)` and the answer, of sensitivity 1/2, a noise of
    `z / (2 sqrt(share))`: theorem 1 there, with both in one release.

    The server clips, because it alone knows the norm: in central differential
    privacy it is trusted with single updates. Under a mask, use `clip`.

    Args:
        initial: norm of the first round.
        quantile: fraction of the clients that should be within the norm.
        learning_rate: step size for the norm's logarithm.
        share: fraction of the squared sensitivity that is spent on the answers.

    Raises:
        ValueError: an argument is out of range; when encoding, a value is not
            finite.

    >>> server_clip = adaptive_clip(0.5).protection.server_clip
    >>> server_clip.norm(server_clip.init())
    0.5
    """
    checks.positive(initial=initial, learning_rate=learning_rate)
    checks.inside(quantile=quantile, share=share)
    if not SMALLEST_NORM <= initial <= LARGEST_NORM:
        raise ValueError(f"initial is {initial}; it must be from {SMALLEST_NORM:g} to {LARGEST_NORM:g}")
    given = ", ".join(repr(float(x)) for x in (initial, quantile, learning_rate, share))
    name = f"adaptive_clip({given})"

    def encode(payload: Payload, state: Arrays, context: RoundContext) -> tuple[Payload, Arrays]:
        require_finite(name, payload.values)
        return payload, {}

    def update(state: Arrays, within: float) -> Arrays:
        norm = float(state["clip_norm"][0]) * float(np.exp(-learning_rate * (within - quantile)))
        return {**state, "clip_norm": np.array([min(LARGEST_NORM, max(SMALLEST_NORM, norm))])}

    server_clip = ServerClip(
        norm=lambda state: float(state["clip_norm"][0]),
        init=lambda: {"clip_norm": np.array([float(initial)])},
        share=float(share),
        update=update,
    )
    return Transform(
        name=name,
        kinds=("clip",),
        encode=encode,
        decode=lambda payload, n, context: payload,
        summable=True,
        unbiased=False,
        protection=Protection(server_clip=server_clip),
    )
