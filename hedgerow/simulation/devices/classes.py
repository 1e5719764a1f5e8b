"""Devices of a few classes, such as laptops and Raspberry Pis."""

import math
from functools import partial

from hedgerow import checks
from hedgerow.rng import generator
from hedgerow.simulation.devices.base import Devices


@checks.arguments
def classes(
    names: tuple[str, ...],
    shares: tuple[float, ...],
    step_seconds: tuple[float, ...],
    jitter: float = 0.0,
) -> Devices:
    """Each client has a device of one of these classes, drawn by their shares.

    Args:
        names: of the classes.
        shares: of the clients; they add up to 1.
        step_seconds: how long a step takes on a device of each class.
        jitter: standard deviation of the logarithm of a device's step times from round to round.

    Raises:
        ValueError: the lists differ in length, or a value is out of range.

    >>> devices = classes(("laptop", "pi"), (0.75, 0.25), (0.01, 0.2))
    >>> [devices.describe(0, f"client-000{number}")[0] for number in range(4)]
    ['laptop', 'pi', 'laptop', 'laptop']
    """
    checks.texts(names=names)
    checks.not_negative(jitter=jitter)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"names is {list(names)}; it must have at least one name, and each only once")
    for given, values in (("shares", shares), ("step_seconds", step_seconds)):
        checks.kind((tuple, list), " of numbers", **{given: values})
        if len(values) != len(names):
            raise ValueError(f"{given} is {list(values)}; it must have one number for each of {list(names)}")
        for value in values:
            checks.positive(**{given: value})
    if not math.isclose(math.fsum(shares), 1.0, abs_tol=1e-6):
        raise ValueError(f"shares is {list(shares)}; it must add up to 1, not {math.fsum(shares):g}")
    written = f"classes({list(names)}, {list(shares)}, {list(step_seconds)}, {jitter})"
    return Devices(written, partial(_describe, names, shares, step_seconds), jitter)


def _describe(
    names: tuple[str, ...],
    shares: tuple[float, ...],
    step_seconds: tuple[float, ...],
    seed: int,
    client: str,
) -> tuple[str, float]:
    drawn = generator(seed, "device", client=client).random() * math.fsum(shares)
    place = 0
    while place < len(names) - 1 and drawn >= shares[place]:
        drawn -= shares[place]
        place += 1
    return names[place], step_seconds[place]
