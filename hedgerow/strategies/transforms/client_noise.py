"""Noise that clients add themselves, so that even the server sees no sum with less noise."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks, rng
from hedgerow.privacy.discrete_gaussian import discrete_gaussian
from hedgerow.privacy.events import Skellam
from hedgerow.privacy.skellam import LARGEST_VARIANCE, skellam, tail
from hedgerow.strategies.norms import l2_norm, square_sum
from hedgerow.strategies.pipeline.payload_checks import require_finite, take
from hedgerow.strategies.pipeline.transform import Transform
from hedgerow.strategies.protection import Protection
from hedgerow.strategies.release import Noise
from hedgerow.types import Arrays, Payload, RoundContext

_SMALLEST_SIGMA = 4
_PURPOSE = "lattice"  # the step's former name: another one would change the random draws
_NATS = 72.0  # exp(-72) is 5e-32, which a Gaussian reaches at 12 standard deviations


def randomized_round(unit: float, norm: float, range: float | None = None) -> Transform:
    """Round a clipped vector to multiples of `unit`, stochastically and without bias, and bound its norm.

    A draw whose norm exceeds `rounded_norm(norm / unit, n)` is rejected and drawn again: at least two
    in five are kept, and the bias is negligible (Kairouz et al. 2021, arXiv:2102.06387, proposition 22).
    The resulting values are integers, `(n,) int32`, and can be summed.

    Args:
        unit: a power of two, so that sums of multiples are exact.
        norm: of the preceding clip.
        range: values are limited to this range, so that the sum of a cohort takes
            fewer bits; `None` for the norm, which no value exceeds.

    Raises:
        ValueError: an argument is out of range; when encoding, a value is not
            finite, or the vector's norm exceeds `norm`.

    >>> from hedgerow.strategies import chain, clip, decode, encode
    >>> from hedgerow.types import Client, Layout
    >>> context = RoundContext(seed=1, round=1, sender=Client("a"), layout=Layout.flat(2))
    >>> step = chain(clip(1.0), randomized_round(0.25, norm=1.0))
    >>> payload, _ = encode(step, np.array([3, 4], np.float32), {}, context)
    >>> payload.values.tolist(), decode(step, payload, context).tolist()
    ([2, 3], [0.5, 0.75])
    """
    reach = float(norm if range is None else range)
    checks.positive(unit=unit, norm=norm, range=reach)
    if math.frexp(unit)[0] != 0.5:
        raise ValueError(f"unit is {unit}; it must be a power of two, such as {2.0**-10}")
    if norm / unit >= 2**30:
        raise ValueError(f"norm / unit is {norm / unit:g}; it must be below 2**30: take a larger unit")
    if reach > norm:
        raise ValueError(f"range is {range}; it must be at most the norm, {norm}")
    shown = "" if range is None else f", range={reach!r}"
    name = f"randomized_round({float(unit)!r}, {float(norm)!r}{shown})"

    def encode(payload: Payload, state: Arrays, context: RoundContext) -> tuple[Payload, Arrays]:
        x = payload.values
        require_finite(name, x)
        if l2_norm(x) > norm * (1 + 1e-6):
            raise ValueError(f"{name}: the norm is {l2_norm(x):.6g}; put clip({norm!r}) before it")
        random = rng.generator(context.seed, _PURPOSE, round=context.round, client=context.client)
        scaled = np.clip(x.astype(np.float64), -reach, reach) / unit
        bound = rounded_norm(norm / unit, len(x))
        while True:
            whole = np.floor(scaled + random.random(len(x)))
            if square_sum(whole) <= bound**2:
                return payload.replace(whole.astype(np.int32)), {}

    def decode(payload: Payload, n: int, context: RoundContext) -> Payload:
        return payload.replace((take(payload, "values", np.number) * unit).astype(np.float32))

    return Transform(
        name=name,
        kinds=("quantize",),
        encode=encode,
        decode=decode,
        summable=True,
        unbiased=range is None,
        protection=Protection(max_int=lambda before: math.ceil(reach / unit) + 1),
    )


def rounded_norm(norm: float, n: int) -> float:
    """The largest norm allowed after a vector of `n` values and this norm is stochastically rounded.

    arXiv:2102.06387, proposition 22 with beta = exp(-1/2).

    >>> round(rounded_norm(100.0, 400), 1)
    101.0
    """
    likely = norm**2 + n / 4 + norm + math.sqrt(n) / 2
    return min(math.sqrt(likely), norm + math.sqrt(n))


def distributed_noise(
    multiplier: float, norm: float, unit: float, min_honest: int, bits: int = 16
) -> Transform:
    """Let each client add its share of the noise to its integers, before they are summed.

    Each adds an exact discrete Gaussian of variance `sigma^2 / min_honest`, where
    `sigma` is `multiplier` times the sensitivity, `rounded_norm`. The sum of
    `min_honest` or more clients thus has at least the required noise; no sum of
    fewer is released. A sum of discrete Gaussians is not itself a discrete
    Gaussian, but with shares of at least 4 units it differs from one by less than
    `10 min_honest exp(-16 pi^2)`, 1e-68 per client (Kairouz et al. 2021,
    arXiv:2102.06387, theorem 1): it is accounted as a Gaussian.

    A client's protection depends on the noise of the other honest clients: do not
    count clients that may leave or collude in `min_honest`.

    Args:
        multiplier: of the noise in the sum.
        norm, unit: as in the preceding `randomized_round`.
        min_honest: minimum number of honest clients in a sum.
        bits: of each number that is sent, 16 or 32; if a number does not fit, its
            noise is drawn again, for fewer than one in 1e30 (`randomized_round`
            and noise are refused if it would be more).

    Raises:
        ValueError: an argument is out of range, or numbers would not fit; when
            encoding, the vector's norm exceeds what the noise is calibrated to.

    >>> distributed_noise(1.0, norm=1.0, unit=2.0**-9, min_honest=20).kinds
    ('discrete noise',)
    """
    checks.positive(multiplier=multiplier, norm=norm, unit=unit)
    checks.whole(1, min_honest=min_honest)
    if bits not in (16, 32):
        raise ValueError(f"bits is {bits!r}; it must be 16 or 32")
    name = f"distributed_noise({float(multiplier)!r}, {float(norm)!r}, {float(unit)!r}, {min_honest}, {bits})"

    def sigma_of(n: int) -> int:
        sigma = math.ceil(multiplier * rounded_norm(norm / unit, n) / math.sqrt(min_honest))
        if sigma < _SMALLEST_SIGMA:
            raise ValueError(
                f"{name}: a client's noise is {sigma} units, and must be {_SMALLEST_SIGMA} or more: choose a"
                " smaller unit, or skellam_noise"
            )
        return sigma

    def draw(n: int, source: rng.RandomSource, count: int) -> NDArray[np.int64]:
        return discrete_gaussian(sigma_of(n), count, source)

    def reach(clients: int, n: int) -> int:
        return math.ceil(math.sqrt(2 * _NATS * clients) * sigma_of(n))

    return _client_noise(
        name, norm / unit, draw, reach, bits, Noise(float(multiplier), min_honest=int(min_honest))
    )


def skellam_noise(multiplier: float, norm: float, unit: float, min_honest: int, bits: int = 16) -> Transform:
    """Like `distributed_noise`, with Skellam noise: the sum has exactly the distribution that is accounted.

    Each client adds an exact Skellam variate of the event's variance divided by
    `min_honest`, so that the sum's standard deviation is at least `multiplier`
    times the sensitivity, `rounded_norm`, as with `distributed_noise`. Sums of
    Skellam variates are Skellam again: a share may be a single unit, and numbers
    of 8 bits are enough for small models or large cohorts (Agarwal, Kairouz and
    Liu 2021, arXiv:2110.04995, algorithm 1, without the rotation). It is
    accounted by Renyi divergences, which give a slightly higher epsilon than for
    a Gaussian of the same variance; the true epsilon is only slightly higher if
    a client changes the sum by many units.

    Args:
        multiplier, norm, unit, min_honest: as in `distributed_noise`.
        bits: of each number that is sent, 8, 16 or 32.

    Raises:
        ValueError: as in `distributed_noise`.

    >>> skellam_noise(1.0, norm=1.0, unit=2.0**-9, min_honest=20).protection.noise.skellam(4000).variance
    263700
    """
    checks.positive(multiplier=multiplier, norm=norm, unit=unit)
    checks.whole(1, min_honest=min_honest)
    if bits not in (8, 16, 32):
        raise ValueError(f"bits is {bits!r}; it must be 8, 16 or 32")
    name = f"skellam_noise({float(multiplier)!r}, {float(norm)!r}, {float(unit)!r}, {min_honest}, {bits})"

    def event(n: int | None) -> Skellam:
        return skellam_event(multiplier, norm / unit, min_honest, n)

    def draw(n: int, source: rng.RandomSource, count: int) -> NDArray[np.int64]:
        return skellam(event(n).variance // min_honest, count, source)

    def reach(clients: int, n: int) -> int:
        return tail(clients * (event(n).variance // min_honest), _NATS)

    noise = Noise(float(multiplier), min_honest=int(min_honest), skellam=event)
    return _client_noise(name, norm / unit, draw, reach, bits, noise)


def skellam_event(multiplier: float, norm: float, min_honest: int, n: int | None) -> Skellam:
    """The ledger's event for a sum of `n` integers with `skellam_noise`.

    A client changes the sum by a vector of integers, whose l1 norm is at most the
    square of its l2 norm, and at most `sqrt(n)` times the l2 norm.

    Args:
        multiplier: minimum of the noise's standard deviation over the sensitivity, `rounded_norm`.
        norm: of the clip, in units.
        min_honest: minimum number of honest clients in a sum; each has the same integer variance.
        n: number of values; `None` for an event that costs at least as much as any number of them.

    >>> skellam_event(2.0, norm=100.0, min_honest=10, n=400).variance, round(rounded_norm(100.0, 400), 3)
    (40840, 101.045)
    """
    if n is None:  # as if rounding added nothing to the norm, with no more noise than required
        return Skellam(max(1, math.floor((multiplier * norm) ** 2)), norm, norm**2)
    l2 = rounded_norm(norm, n)
    variance = min_honest * math.ceil((multiplier * l2) ** 2 / min_honest)
    return Skellam(variance, l2, min(l2**2, math.sqrt(max(n, 1)) * l2))


def unit_for(
    norm: float, multiplier: float, min_honest: int, bits: int, *,
    clients: int = 1, range: float | None = None,
) -> float:  # fmt: skip
    """The smallest power of two with which the noisy sum of `clients` clients fits into `bits` bits.

    This holds unless rounding increases a vector's norm by more than a quarter, as it may
    for very large models. `range` is that of `randomized_round`.

    >>> unit_for(1.0, 1.0, min_honest=40, bits=16), unit_for(1.0, 1.0, min_honest=40, bits=16, clients=50)
    (0.0001220703125, 0.00390625)
    """
    largest, part = clients * (norm if range is None else range), 1.25 * multiplier / math.sqrt(min_honest)

    def fits(unit: float) -> bool:
        variance = (part * norm / unit) ** 2
        reach = largest / unit + clients + tail(math.ceil(clients * variance), _NATS)
        return reach <= _largest(bits) and variance < LARGEST_VARIANCE

    unit = 2.0 ** math.ceil(math.log2(largest / _largest(bits)))
    while not fits(unit):
        unit *= 2
    return float(unit)


Draw = Callable[[int, rng.RandomSource, int], NDArray[np.int64]]
"""`(n, source, count) -> (count,) int64`: `count` values of a client's noise, for a vector of `n`."""

Reach = Callable[[int, int], int]
"""`(clients, n) -> int`: fewer than one value in 1e30 of the clients' summed noise exceeds this."""


def _client_noise(name: str, norm: float, draw: Draw, reach: Reach, bits: int, noise: Noise) -> Transform:
    """The step that adds noise to the integers of `bits` bits of a vector with this norm."""
    dtype, most = np.dtype(f"int{bits}"), _largest(bits)

    def encode(payload: Payload, state: Arrays, context: RoundContext) -> tuple[Payload, Arrays]:
        whole = take(payload, "values", np.signedinteger)
        squared, bound = square_sum(whole), rounded_norm(norm, len(whole))
        if squared > bound**2:
            raise ValueError(
                f"{name}: the whole numbers have a norm of {math.sqrt(squared):.6g}, and the noise is"
                f" measured for {bound:.6g}; put a randomized_round(...) of the same norm and unit before it"
            )
        source: rng.RandomSource = rng.system_source
        if context.seeded_noise:
            source = rng.seeded_source(context.seed, "noise", round=context.round, client=context.client)
        n = len(whole)
        _refuse_unfit(name, norm, reach(1, n), bits)
        noised = whole + draw(n, source, n)
        while (wrong := np.flatnonzero(np.abs(noised) > most)).size:
            noised[wrong] = whole[wrong] + draw(n, source, len(wrong))
        return payload.replace(noised.astype(dtype)), {}

    return Transform(
        name=name,
        kinds=("discrete noise",),
        encode=encode,
        decode=lambda payload, n, context: payload,
        summable=True,
        protection=Protection(
            max_int=lambda before: most,
            # The clients' noise is independent: its sum has a smaller range than `clients` times one's.
            max_sum=lambda before, clients, n: clients * before + reach(clients, n),
            noise=noise,
        ),
    )


def _refuse_unfit(name: str, norm: float, reach: int, bits: int) -> None:
    largest = norm + 1 + reach
    if largest > _largest(bits):
        raise ValueError(
            f"{name}: a client's numbers are up to {largest:.0f}, of which {reach} are noise, and at most"
            f" {_largest(bits)} fit: choose a larger unit, or more bits"
        )


def _largest(bits: int) -> int:
    return (1 << bits - 1) - 1
