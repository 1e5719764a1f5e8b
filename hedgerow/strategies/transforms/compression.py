"""Compression: fewer bits per value, and fewer values."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.ring.packing import pack, pack_indices, unpack, unpack_indices
from hedgerow.rng import generator
from hedgerow.strategies.pipeline.payload_checks import require_finite, take
from hedgerow.strategies.pipeline.transform import Transform
from hedgerow.strategies.protection import Protection
from hedgerow.strategies.transforms.fixed_range import quantize_within
from hedgerow.strategies.transforms.positions import at_random, count, largest, scatter
from hedgerow.types import Arrays, Layout, Payload, PayloadError, RoundContext, Vector
from hedgerow.wording import shown


@checks.arguments
def quantize(
    bits: int = 8,
    rounding: Literal["stochastic", "nearest"] = "stochastic",
    block: Literal["tensor"] | int = "tensor",
    range: float | None = None,
) -> Transform:
    """Round each value to one of a few levels, and send `bits` bits per value.

    With 2 bits or more, the levels are `s * l / L` for integers `l` in `-L .. L`,
    `L = 2**(bits - 1) - 1`, with `s = max |x|` of the block: QSGD with the
    maximum instead of the l2 norm (Alistarh et al. 2017, arXiv:1610.02132,
    sections 3.1 and 4). With 1 bit they are `-s` and `s`: stochastic with
    `s = max |x|`, nearest with `s = mean |x|`, which minimises the squared
    error (Karimireddy et al. 2019, arXiv:1901.09847, algorithm 1).

    Stochastic rounding goes up or down with the probabilities that make the
    expectation exact (up to float32 rounding). The error of a value is below one
    step, `s / L`; nearest rounding halves that, but is biased; it is contractive.

    Arrays: `"values"`, `ceil(n * bits / 8)` bytes; `"scales"`, float32, `s` of
    each block.

    Args:
        bits: 1 to 16.
        rounding: `"stochastic"` or `"nearest"` (ties to even).
        block: number of consecutive values that share a scale, or `"tensor"` for
            one scale per tensor (one for all values after a sparsifier).
        range: a fixed `s` for all clients and values, which a mask needs; values
            beyond it are clipped, values within it are unbiased. The payload's
            `"values"` are then integers, `(n,) int32` from `-L` to `L`, and can be
            summed; the ring of the mask determines how many bits are sent.
            Requires 2 bits or more, and no `block`.

    Raises:
        ValueError: an argument is out of range; when encoding, a value is not
            finite.

    >>> from hedgerow.strategies import decode, encode
    >>> from hedgerow.types import Client
    >>> context = RoundContext(seed=1, round=1, sender=Client("a"), layout=Layout.flat(3))
    >>> step = quantize(4, rounding="nearest")
    >>> payload, _ = encode(step, np.array([-7, 0.4, 2], np.float32), {}, context)
    >>> payload.values.tolist(), payload.arrays["scales"].tolist()
    ([112, 9], [7.0])
    >>> decode(step, payload, context).tolist()
    [-7.0, 0.0, 2.0]
    """
    checks.whole(1, 16, bits=bits)
    checks.one_of(["stochastic", "nearest"], rounding=rounding)
    if not isinstance(block, str) or block != "tensor":
        if not checks.is_whole(block):
            raise ValueError(
                f"block is {shown(block)}; it must be 'tensor' or a number of values, such as 1024"
            )
        checks.whole(1, block=block)
        block = int(block)
    if range is not None:
        return quantize_within(range, bits, rounding, block)
    how = "" if rounding == "stochastic" else f", rounding={rounding!r}"
    name = f"quantize({bits}{how}" + (")" if block == "tensor" else f", block={block})")

    def encode(payload: Payload, state: Arrays, context: RoundContext) -> tuple[Payload, Arrays]:
        x = payload.values
        require_finite(name, x)
        sizes = _block_sizes(block, len(x), context.layout)
        scales = _scales(x, sizes, use_mean=bits == 1 and rounding == "nearest")
        draw = None
        if rounding == "stochastic":
            draw = generator(context.seed, "quantize", round=context.round, client=context.client)
        codes = _codes(x, _spread(scales, sizes), bits, draw)
        return payload.replace(pack(codes, bits), scales=scales), {}

    def decode(payload: Payload, n: int, context: RoundContext) -> Payload:
        packed, scales = take(payload, "values", np.uint8), take(payload, "scales", np.float32)
        sizes = _block_sizes(block, n, context.layout)
        if len(scales) != len(sizes):
            raise PayloadError(f"{name}: there are {len(scales)} scales; {n} values have {len(sizes)}")
        if not (np.isfinite(scales) & (scales >= 0)).all():
            raise PayloadError(f"{name}: a scale is negative or not finite; it must be 0 or above")
        codes = unpack(packed, bits, n)
        others = {key: array for key, array in payload.arrays.items() if key != "scales"}
        values = _values(codes, _spread(scales, sizes), bits)
        return Payload({**others, "values": values}, payload.weight)

    return Transform(
        name=name,
        kinds=("quantize",),
        encode=encode,
        decode=decode,
        unbiased=rounding == "stochastic",
        # With 1 or 2 bits a step is as large as the largest value, but most values are far smaller.
        contractive=rounding != "stochastic" or bits > 2,
        code_bits=bits,
        protection=Protection(max_int=lambda largest: 0),
    )


@checks.arguments
def top_k(fraction: float) -> Transform:
    """Send the values of largest magnitude of the whole vector, and their positions.

    `k = max(1, floor(fraction * n + 1/2))`; among equal magnitudes, those at
    lower positions. Biased: put it inside `error_feedback` (Stich et al. 2018,
    arXiv:1809.07599). Arrays: `"values"`, `(k,) float32`, in the order of their
    positions; `"indices"`, uint8, see `pack_indices`.

    Raises:
        ValueError: `fraction` is not above 0 and at most 1; when encoding, a
            value is not finite.

    >>> from hedgerow.strategies import encode
    >>> from hedgerow.types import Client
    >>> context = RoundContext(seed=1, round=1, sender=Client("a"), layout=Layout.flat(4))
    >>> payload, _ = encode(top_k(0.5), np.array([1, -4, 0, 2], np.float32), {}, context)
    >>> payload.values.tolist()
    [-4.0, 2.0]
    """
    checks.fraction(fraction=fraction)
    fraction = float(fraction)
    name = f"top_k({fraction!r})"

    def encode(payload: Payload, state: Arrays, context: RoundContext) -> tuple[Payload, Arrays]:
        x = payload.values
        require_finite(name, x)
        indices = largest(np.abs(x), count(fraction, len(x)))
        return payload.replace(x[indices], indices=pack_indices(indices, len(x))), {}

    def decode(payload: Payload, n: int, context: RoundContext) -> Payload:
        values, code = take(payload, "values", np.float32), take(payload, "indices", np.uint8)
        indices = unpack_indices(code, n, count(fraction, n))
        others = {key: array for key, array in payload.arrays.items() if key != "indices"}
        return Payload({**others, "values": scatter(values, indices, n, name)}, payload.weight)

    return Transform(
        name=name,
        kinds=("sparsify",),
        encode=encode,
        decode=decode,
        length=lambda n: count(fraction, n),
        unbiased=False,
    )


@checks.arguments
def random_k(fraction: float, unbiased: bool = True) -> Transform:
    """Send the values at random positions, the same for all clients of a round.

    `k` is as in `top_k`. The positions follow from the seed and the round, so
    only the values are sent, and they can be summed. `unbiased` scales them by
    `n / k`; inside `error_feedback` it must be False (Stich et al. 2018,
    arXiv:1809.07599). Array: `"values"`, `(k,) float32`.

    Raises:
        ValueError: `fraction` is not above 0 and at most 1; when encoding, a
            value is not finite or overflows when scaled.

    >>> random_k(0.1).length(1000)
    100
    """
    checks.fraction(fraction=fraction)
    checks.flag(unbiased=unbiased)
    fraction = float(fraction)
    name = f"random_k({fraction!r})" if unbiased else f"random_k({fraction!r}, unbiased=False)"

    def encode(payload: Payload, state: Arrays, context: RoundContext) -> tuple[Payload, Arrays]:
        x = payload.values
        require_finite(name, x)
        sent = x[_positions(context, len(x), count(fraction, len(x)))]
        if unbiased and len(x):
            with np.errstate(over="ignore"):
                sent = sent * np.float32(len(x) / len(sent))
            require_finite(name, sent)
        return payload.replace(sent), {}

    def decode(payload: Payload, n: int, context: RoundContext) -> Payload:
        indices = _positions(context, n, count(fraction, n))
        return payload.replace(scatter(take(payload, "values", np.floating), indices, n, name))

    return Transform(
        name=name,
        kinds=("sparsify",),
        encode=encode,
        decode=decode,
        length=lambda n: count(fraction, n),
        summable=True,
        unbiased=unbiased,
        contractive=not unbiased or fraction == 1,
    )


def _block_sizes(block: str | int, n: int, layout: Layout) -> NDArray[np.int64]:
    if isinstance(block, str):
        tensors = [tensor.size for tensor in layout.parameters] if n == layout.dimension else [n]
        return np.array([size for size in tensors if size], np.int64)
    full, rest = divmod(n, block)
    return np.array([block] * full + [rest] * (rest > 0), np.int64)


def _scales(x: Vector, sizes: NDArray[np.int64], use_mean: bool) -> NDArray[np.float32]:
    if len(sizes) == 0:
        return np.empty(0, np.float32)
    starts = np.cumsum(sizes) - sizes
    if use_mean:
        return (np.add.reduceat(np.abs(x), starts, dtype=np.float64) / sizes).astype(np.float32)
    return np.maximum.reduceat(np.abs(x), starts)


def _spread(scales: NDArray[np.float32], sizes: NDArray[np.int64]) -> Vector:
    """Each value's scale; a single one, which broadcasts, if all values share it."""
    return scales if len(scales) == 1 else np.repeat(scales, sizes)


def _codes(x: Vector, scale: Vector, bits: int, draw: np.random.Generator | None) -> NDArray[Any]:
    top = 2 ** (bits - 1) - 1
    if bits == 1 and draw is None:
        return (x >= 0).astype(np.uint8)
    # Divide first, then multiply: L / s would overflow if s is denormal.
    y = x / np.where(scale > 0, scale, np.float32(1))
    if bits == 1:
        y += 1
        y *= 0.5
    else:
        y *= top
    if draw is None:
        level = np.rint(y)
    else:
        level = np.floor(y)
        y -= level
        level += draw.random(len(y), dtype=np.float32) < y
    level += top
    return level.astype(np.uint8 if bits <= 8 else np.uint16)


def _values(codes: NDArray[Any], scale: Vector, bits: int) -> Vector:
    y = codes.astype(np.float32)
    if bits == 1:
        y *= 2
        y -= 1
    else:
        top = 2 ** (bits - 1) - 1
        if codes.max(initial=0) > 2 * top:
            raise PayloadError(f"a code of {bits} bits is {codes.max()}; it must be 0 to {2 * top}")
        y -= top
        y /= top
    y *= scale
    return y


def _positions(context: RoundContext, n: int, k: int) -> NDArray[np.int64]:
    return at_random(generator(context.seed, "random_k", round=context.round), n, k)
