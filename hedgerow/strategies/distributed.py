"""Noise that clients add themselves, so that whoever sums sees no less noisy sum."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks, rng
from hedgerow.privacy.discrete_gaussian import discrete_gaussian
from hedgerow.strategies.norms import l2_norm
from hedgerow.strategies.release import Noise
from hedgerow.strategies.transform import Transform, require_finite, take
from hedgerow.types import Arrays, Payload, RoundContext

_SMALLEST_SIGMA = 4

_TAIL = 12
"""Noise is beyond so many standard deviations for less than one value in 1e30."""


def lattice(unit: float, norm: float) -> Transform:
    """Round a clipped vector to whole multiples of `unit`, at random and without bias, and keep its norm.

    A draw that is longer than `lattice_norm(norm / unit, n)` is thrown away and
    drawn again: at least two in five are kept, and the mean moves by next to
    nothing (Kairouz et al. 2021, arXiv:2102.06387, proposition 22). The values
    are then whole numbers, `(n,) int32`, and can be summed.

    Args:
        unit: a power of two, so that sums of multiples are exact.
        norm: of the clip before it.

    Raises:
        ValueError: an argument is out of range; when encoding, a value is not
            finite, or the vector is longer than `norm`.

    >>> from hedgerow.strategies import chain, clip, decode, encode
    >>> from hedgerow.types import Layout
    >>> context = RoundContext(seed=1, round=1, client="a", layout=Layout.flat(2))
    >>> step = chain(clip(1.0), lattice(0.25, norm=1.0))
    >>> payload, _ = encode(step, np.array([3, 4], np.float32), {}, context)
    >>> payload.values.tolist(), decode(step, payload, context).tolist()
    ([2, 3], [0.5, 0.75])
    """
    checks.positive(unit=unit, norm=norm)
    if math.frexp(unit)[0] != 0.5:
        raise ValueError(f"unit is {unit}; it must be a power of two, such as {2.0**-10}")
    if norm / unit >= 2**30:
        raise ValueError(f"norm / unit is {norm / unit:g}; it must be below 2**30: take a larger unit")
    name = f"lattice({float(unit)!r}, {float(norm)!r})"

    def encode(payload: Payload, state: Arrays, context: RoundContext) -> tuple[Payload, Arrays]:
        x = payload.values
        require_finite(name, x)
        if l2_norm(x) > norm * (1 + 1e-6):
            raise ValueError(f"{name}: the norm is {l2_norm(x):.6g}; put clip({norm!r}) before it")
        random = rng.generator(context.seed, "lattice", round=context.round, client=context.client)
        scaled = x.astype(np.float64) / unit
        bound = lattice_norm(norm / unit, len(x))
        while True:
            whole = np.floor(scaled + random.random(len(x)))
            if np.square(whole).sum() <= bound**2:
                return payload.replace(whole.astype(np.int32)), {}

    def decode(payload: Payload, n: int, context: RoundContext) -> Payload:
        return payload.replace((take(payload, "values", np.number) * unit).astype(np.float32))

    return Transform(
        name=name,
        kinds=("quantize",),
        encode=encode,
        decode=decode,
        summable=True,
        sensitivity=lambda before: math.inf,  # depends on the number of values: see lattice_norm
        whole=lambda before: math.ceil(norm / unit) + 1,
    )


def lattice_norm(norm: float, n: int) -> float:
    """The longest that a vector of `n` values and this norm may be when rounded to whole numbers at random.

    arXiv:2102.06387, proposition 22 with beta = exp(-1/2).

    >>> round(lattice_norm(100.0, 400), 1)
    101.0
    """
    likely = norm**2 + n / 4 + norm + math.sqrt(n) / 2
    return min(math.sqrt(likely), norm + math.sqrt(n))


def distributed_noise(multiplier: float, norm: float, unit: float, fewest: int, bits: int = 16) -> Transform:
    """Let each client add its share of the noise to its whole numbers, before they are summed.

    Each adds an exact discrete Gaussian of variance `sigma^2 / fewest`, with
    `sigma` being `multiplier` times the sensitivity, `lattice_norm`. So the sum
    of `fewest` clients or more has at least the noise wanted; of fewer, none is
    released. A sum of discrete Gaussians is no discrete Gaussian, but from a
    share of 4 units on it differs from one by less than
    `10 fewest exp(-16 pi^2)`, 1e-68 a client (Kairouz et al. 2021,
    arXiv:2102.06387, theorem 1): the accounting is that of the Gaussian.

    A client's own noise protects it from others only as far as these are
    honest: count those that may leave or collude out of `fewest`.

    Args:
        multiplier: of the noise in the sum.
        norm, unit: those of the `lattice` before it.
        fewest: honest clients in a sum, at least.
        bits: of a number that is sent, 16 or 32; one that does not fit has its
            noise drawn again, which happens for less than one in 1e30 (`lattice`
            and noise are refused where it would be more).

    Raises:
        ValueError: an argument is out of range, or numbers would not fit.

    >>> distributed_noise(1.0, norm=1.0, unit=2.0**-9, fewest=20).kinds
    ('discrete noise',)
    """
    checks.positive(multiplier=multiplier, norm=norm, unit=unit)
    checks.whole(1, fewest=fewest)
    if bits not in (16, 32):
        raise ValueError(f"bits is {bits!r}; it must be 16 or 32")
    name = f"distributed_noise({float(multiplier)!r}, {float(norm)!r}, {float(unit)!r}, {fewest}, {bits})"
    dtype = np.int16 if bits == 16 else np.int32

    def share(n: int) -> int:
        sigma = math.ceil(multiplier * lattice_norm(norm / unit, n) / math.sqrt(fewest))
        largest = norm / unit + 1 + _TAIL * sigma
        if sigma < _SMALLEST_SIGMA or largest > np.iinfo(dtype).max:
            raise ValueError(
                f"{name}: a client's noise is {sigma} units, and its numbers up to {largest:.0f}; the noise"
                f" must be {_SMALLEST_SIGMA} or more, and the numbers at most {np.iinfo(dtype).max}: choose"
                " another unit, or 32 bits"
            )
        return sigma

    def largest_sum(clients: int, n: int) -> int:
        # Noise of clients is independent: together it reaches as far as the root of their number.
        return clients * (math.ceil(norm / unit) + 1) + math.ceil(_TAIL * share(n) * math.sqrt(clients))

    def encode(payload: Payload, state: Arrays, context: RoundContext) -> tuple[Payload, Arrays]:
        whole = take(payload, "values", np.signedinteger)
        words: rng.Words = rng.system_words
        if context.seeded_noise:
            words = rng.seeded_words(context.seed, "noise", round=context.round, client=context.client)
        sigma, most = share(len(whole)), np.iinfo(dtype).max
        noised = whole + discrete_gaussian(sigma, len(whole), words)
        while (wrong := np.flatnonzero(np.abs(noised) > most)).size:
            noised[wrong] = whole[wrong] + discrete_gaussian(sigma, len(wrong), words)
        return payload.replace(_as(noised, dtype)), {}

    return Transform(
        name=name,
        kinds=("discrete noise",),
        encode=encode,
        decode=lambda payload, n, context: payload,
        summable=True,
        sensitivity=lambda before: math.inf,  # of what is sent; that of the sum is in the noise
        whole=lambda before: int(np.iinfo(dtype).max),
        largest_sum=largest_sum,
        noise=replace(Noise(float(multiplier)), fewest=int(fewest)),
    )


def unit_for(norm: float, multiplier: float, fewest: int, bits: int, clients: int = 1) -> float:
    """The smallest power of two of which the noised sum of so many clients takes no more than so many bits.

    Rounding is taken to lengthen a vector by a quarter at most: with a model
    of more than `2.25 (norm / unit)^2` values it lengthens it by more.

    >>> unit_for(1.0, 1.0, fewest=40, bits=16), unit_for(1.0, 1.0, fewest=40, bits=16, clients=50)
    (0.0001220703125, 0.00390625)
    """
    reach = norm * (clients + _TAIL * 1.25 * multiplier * math.sqrt(clients / fewest))
    return float(2.0 ** math.ceil(math.log2(reach / (2 ** (bits - 1) - 1))))


def _as(values: NDArray[np.int64], dtype: type[np.signedinteger]) -> NDArray[np.signedinteger]:
    return values.astype(dtype)
