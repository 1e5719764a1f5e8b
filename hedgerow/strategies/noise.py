"""Noise on what a round reveals."""

from hedgerow import checks
from hedgerow.strategies.release import Noise
from hedgerow.strategies.transform import Transform
from hedgerow.types import Arrays, Payload, RoundContext


def gaussian_noise(multiplier: float) -> Transform:
    """Let the server add Gaussian noise to the sum of a round, once.

    The standard deviation is `multiplier` times the most that one client can
    change the sum by: the norm of the clip before it. On the client the step
    does nothing: the server is trusted with single updates, and what leaves it
    is private (McMahan et al. 2018, arXiv:1710.06963, algorithm 1).

    Sums are whole multiples of 2**-36, and so is the noise: an exact discrete
    Gaussian, without the holes of floating-point noise (see
    `hedgerow.privacy.discrete_gaussian`). In a real run it comes from the
    operating system's generator.

    Raises:
        ValueError: `multiplier` is not a finite number above 0.

    >>> from hedgerow.strategies import chain, clip
    >>> chain(clip(0.5), gaussian_noise(1.0)).name
    'chain(clip(0.5), gaussian_noise(1.0))'
    """
    checks.positive(multiplier=multiplier)
    return Transform(
        name=f"gaussian_noise({float(multiplier)!r})",
        kinds=("noise",),
        encode=_unchanged,
        decode=lambda payload, n, context: payload,
        summable=True,
        noise=Noise(float(multiplier)),
    )


def _unchanged(payload: Payload, state: Arrays, context: RoundContext) -> tuple[Payload, Arrays]:
    return payload, {}
