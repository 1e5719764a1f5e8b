"""Noise that the server adds to what a round reveals."""

from dataclasses import replace

from hedgerow import checks
from hedgerow.privacy.bands import optimal_bands
from hedgerow.strategies.pipeline.transform import Transform
from hedgerow.strategies.protection import Protection
from hedgerow.strategies.release import Noise
from hedgerow.types import Arrays, Payload, RoundContext


@checks.arguments
def gaussian_noise(multiplier: float) -> Transform:
    """Let the server add Gaussian noise to the sum of a round, once.

    The standard deviation is `multiplier` times the largest change that one
    client can make to the sum: the norm of the preceding clip. On the client the
    step does nothing: the server is trusted with single updates, and what it
    releases is private (McMahan et al. 2018, arXiv:1710.06963, algorithm 1).

    Sums are integer multiples of 2**-36, and so is the noise: an exact discrete
    Gaussian, without the gaps of floating-point noise (see
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
        protection=Protection(noise=Noise(float(multiplier))),
    )


@checks.arguments
def banded_noise(multiplier: float, bands: int, rounds: int) -> Transform:
    """Like `gaussian_noise`, but later rounds subtract part of it again: DP-FTRL by banded factorisation.

    For cohorts that take turns (`cyclic`): a client is in at most one of `bands`
    consecutive rounds. For the same epsilon without random cohorts, the model
    has far less noise: over 100 rounds with 8 bands, on average a fifth of the
    variance (Choquette-Choo et al. 2023, arXiv:2306.08153). The server keeps the
    noise of the last `bands - 1` rounds in its checkpoint.

    Args:
        multiplier: standard deviation, divided by the l2 norm of everything that
            one participation changes. With `k` participations, epsilon equals that
            of `k` rounds of `gaussian_noise(multiplier)` with every client.
        bands: number of rounds over which noise is correlated.
        rounds: number of rounds to optimise the factorisation for; others work too.

    Raises:
        ValueError: an argument is out of range.

    >>> banded_noise(1.0, bands=2, rounds=100).protection.noise.bands
    (1.0, 0.7615)
    """
    checks.positive(multiplier=multiplier)
    checks.whole(1, bands=bands, rounds=rounds)
    column = optimal_bands(bands, rounds)
    name = f"banded_noise({float(multiplier)!r}, {bands}, {rounds})"
    protection = Protection(noise=Noise(float(multiplier), column))
    return replace(gaussian_noise(multiplier), name=name, protection=protection)


def _unchanged(payload: Payload, state: Arrays, context: RoundContext) -> tuple[Payload, Arrays]:
    return payload, {}
