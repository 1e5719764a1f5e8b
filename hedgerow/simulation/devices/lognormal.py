"""Devices whose speeds are spread smoothly."""

from functools import partial

from hedgerow import checks
from hedgerow.rng import generator
from hedgerow.simulation.devices.base import Devices


@checks.arguments
def lognormal(step_seconds: float, sigma: float = 1.0, jitter: float = 0.0) -> Devices:
    """Each client's step time is drawn from a log-normal distribution.

    Args:
        step_seconds: their median.
        sigma: standard deviation of their logarithm; with 1, a device in six is more than e times
            as slow as the median.
        jitter: the same of one device's step times, from round to round.

    Raises:
        ValueError: a value is out of range.

    >>> devices = lognormal(0.02)
    >>> [round(devices.describe(0, name)[1], 4) for name in ("a", "b")]
    [0.0024, 0.0097]
    """
    checks.positive(step_seconds=step_seconds)
    checks.not_negative(sigma=sigma, jitter=jitter)
    written = f"lognormal({step_seconds}, {sigma}, {jitter})"
    return Devices(written, partial(_describe, step_seconds, sigma), jitter)


def _describe(step_seconds: float, sigma: float, seed: int, client: str) -> tuple[str, float]:
    return "", step_seconds * float(generator(seed, "device", client=client).lognormal(0.0, sigma))
