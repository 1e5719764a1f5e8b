"""EDEN: a random rotation makes any update look normal, for which the best levels are known."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.ring.packing import pack, unpack_from
from hedgerow.rng import generator
from hedgerow.strategies.pipeline.payload_checks import require_finite, take
from hedgerow.strategies.pipeline.transform import Transform
from hedgerow.strategies.protection import Protection
from hedgerow.strategies.transforms.normal_levels import bounds, levels
from hedgerow.strategies.transforms.positions import at_random, count, scatter
from hedgerow.strategies.transforms.rotation import Rotation, largest_power
from hedgerow.types import Arrays, Payload, PayloadError, RoundContext, Vector
from hedgerow.wording import shown

_TINY = np.finfo(np.float32).tiny


@checks.arguments
def eden(bits: float = 1, unbiased: bool = True) -> Transform:
    """Rotate at random, and send each value as one of the best `2**bits` levels for normal values.

    With the rotated values `y` of a window, scaled to a mean square of 1, and `q` the nearest level of each,
    what is decoded is `S q`, rotated back, with `S = |y|^2 / <y, q>` (Vargaftik et al. 2022,
    arXiv:2108.08842). For a uniformly random rotation that is unbiased, and the squared error is
    `1 / (1 - D) - 1` of the squared norm, where `D` is the error of the levels for a normal value:
    0.571, 0.1331, 0.0358 and 0.0096 with 1 to 4 bits, whatever the update is. With `unbiased=False`,
    `S = <y, q> / |q|^2` has the least error, `D`: 0.363, 0.1175, 0.0345 and 0.0095.

    The rotation is `Rotation`, a fast one, drawn for each client and round from the seed: it takes
    `O(n log n)`, and makes some hundred values or more nearly as normal as a uniform one does: fewer are
    only nearly unbiased. `S` is at most `2 <y, q> / |q|^2`, which matters for few values, and keeps the error
    from exceeding the input; for the same reason a window whose `S` is below the least normal float32 is
    decoded as zeros.

    Below 1 bit, a fraction `bits` of the rotated values is sent, with 1 bit each, at positions that follow
    from the seed; the error is `1.571 / bits - 1`, and more than the input.

    Arrays: `"values"`, `ceil(n * bits / 8)` bytes; `"scales"`, float32, `S` of each window, of which there
    is one for every 8192 values. Each client has its own rotation, so nothing can be summed.

    Args:
        bits: 1 to 8, or a number below 1.
        unbiased: the expectation is what was encoded; otherwise, the error is the least.

    Raises:
        ValueError: an argument is out of range; when encoding, a value is not finite.

    >>> from hedgerow.strategies import decode, encode
    >>> from hedgerow.types import Client, Layout
    >>> context = RoundContext(seed=1, round=1, sender=Client("a"), layout=Layout.flat(1000))
    >>> x = np.random.default_rng(1).standard_normal(1000).astype(np.float32)
    >>> payload, _ = encode(eden(2), x, {}, context)
    >>> decoded = decode(eden(2), payload, context)
    >>> payload.values.nbytes, round(float(np.square(decoded - x).sum() / np.square(x).sum()), 3)
    (250, 0.132)
    """
    _check_bits(bits)
    checks.flag(unbiased=unbiased)
    name = f"eden({bits!r})" if unbiased else f"eden({bits!r}, unbiased=False)"
    each = max(1, int(bits))
    contractive = not unbiased or bits >= 1

    def length(n: int) -> int:
        return n if bits >= 1 else count(bits, n)

    def drawn(context: RoundContext, n: int) -> tuple[Rotation, NDArray[np.int64] | None]:
        draw = generator(context.seed, "eden", round=context.round, client=context.client)
        return Rotation.drawn(n, draw), None if bits >= 1 else at_random(draw, n, length(n))

    def encode(payload: Payload, state: Arrays, context: RoundContext) -> tuple[Payload, Arrays]:
        x = payload.values
        require_finite(name, x)
        rotation, kept = drawn(context, len(x))
        exponent = largest_power(x)
        y = np.ldexp(x, -exponent)
        rotation.turn(y)
        squares = rotation.sums(y * y)
        normal = y.copy()
        rotation.scale(normal, _per_spread(squares, rotation))
        codes = np.searchsorted(bounds(each), normal if kept is None else normal[kept], side="right")
        q = _placed(levels(each)[codes], kept, len(x), name)
        along, size = rotation.sums(y * q), rotation.sums(q * q)
        scale = _ratio(squares, along) if unbiased else _ratio(along, size)
        if contractive:
            scale = np.minimum(scale, 2 * _ratio(along, size))
        with np.errstate(over="ignore"):
            scales = np.ldexp(scale, exponent).astype(np.float32)
        require_finite(name, scales)
        scales[scales < _TINY] = 0  # rounded to so few digits, it could be twice too large
        return payload.replace(pack(codes.astype(np.uint8), each), scales=scales), {}

    def decode(payload: Payload, n: int, context: RoundContext) -> Payload:
        packed, scales = take(payload, "values", np.uint8), take(payload, "scales", np.float32)
        sent = unpack_from(levels(each), packed, each, length(n))
        rotation, kept = drawn(context, n)
        if len(scales) != rotation.groups:
            raise PayloadError(f"{name}: there are {len(scales)} scales; {n} values have {rotation.groups}")
        if not (np.isfinite(scales) & (scales >= 0)).all():
            raise PayloadError(f"{name}: a scale is negative or not finite; it must be 0 or above")
        exponent = largest_power(scales)
        q = _placed(sent, kept, n, name)
        rotation.scale(q, np.ldexp(scales, -exponent))
        rotation.turn_back(q)
        with np.errstate(over="ignore"):
            q *= np.float32(2.0**exponent)
        others = {key: array for key, array in payload.arrays.items() if key != "scales"}
        return Payload({**others, "values": q}, payload.weight)

    return Transform(
        name=name,
        kinds=("quantize",) if bits >= 1 else ("sparsify", "quantize"),
        encode=encode,
        decode=decode,
        length=length,
        unbiased=unbiased,
        contractive=contractive,
        code_bits=each,
        protection=Protection(max_int=lambda largest: 0),
    )


@checks.arguments
def drive(unbiased: bool = True) -> Transform:
    """The signs of the rotated values: `eden(1)` (Vargaftik et al. 2021, arXiv:2105.08339).

    The squared error is `pi / 2 - 1` of the squared norm, or `1 - 2 / pi` with `unbiased=False`.

    Raises:
        ValueError: `unbiased` is not True or False; when encoding, a value is not finite.

    >>> drive(), drive(unbiased=False)
    (drive(), drive(unbiased=False))
    """
    return replace(eden(1, unbiased), name="drive()" if unbiased else "drive(unbiased=False)")


def _check_bits(bits: float) -> None:
    if not (checks.is_whole(bits) and 1 <= bits <= 8) and not (checks.is_number(bits) and 0 < bits < 1):
        raise ValueError(
            f"bits is {shown(bits)}; it must be a whole number from 1 to 8, or a number above 0 and below 1"
        )


def _per_spread(squares: NDArray[np.float64], rotation: Rotation) -> Vector:
    sizes = rotation.sums(np.ones(rotation.n, np.float32))
    return np.sqrt(_ratio(sizes, squares)).astype(np.float32)


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """The quotients; 0 where nothing is below."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _placed(sent: Vector, kept: NDArray[np.int64] | None, n: int, name: str) -> Vector:
    return sent if kept is None else scatter(sent, kept, n, name)
