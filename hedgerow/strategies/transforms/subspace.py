"""A random subspace: all clients send the same few coordinates of a rotated update."""

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.rng import generator
from hedgerow.strategies.pipeline.payload_checks import require_finite, take
from hedgerow.strategies.pipeline.transform import Transform
from hedgerow.strategies.transforms.positions import at_random, count, scatter
from hedgerow.strategies.transforms.rotation import Rotation, largest_power
from hedgerow.types import Arrays, Payload, RoundContext


@checks.arguments
def subspace(fraction: float, unbiased: bool = True) -> Transform:
    """Rotate at random, and send a fraction of the coordinates, the same for all clients of a round.

    With a rotation `H` and `k` of its `n` rows, chosen by `P`, what is decoded is `(n / k) H' P' P H x`:
    the projection onto a random subspace of `k` dimensions, scaled so that the expectation is `x`. Its
    squared error is `n / k - 1` of the squared norm in expectation, as that of `random_k`; but a rotated
    value is a sum of many with random signs, so each draw comes near to it whatever the update is, and all
    values are about as large: `|x| / sqrt(n)`, which gives a quantiser under a mask its range. With
    `unbiased=False` it is the projection itself, which is never longer than `x`: for `error_feedback`.

    Rotation (`Rotation`) and positions follow from the seed and the round alone. So the step is linear, a
    sum of payloads is decoded once, and nothing but the values is sent. Structured random projections:
    Konecny et al. 2016, arXiv:1610.05492, section 3.

    Array: `"values"`, `(k,) float32`.

    Raises:
        ValueError: `fraction` is not above 0 and at most 1; when encoding, a value is not finite or
            overflows when scaled.

    >>> from hedgerow.strategies import decode, encode
    >>> from hedgerow.types import Client, Layout
    >>> x = np.random.default_rng(1).standard_normal(1000).astype(np.float32)
    >>> found = []
    >>> for number in range(1, 401):
    ...     context = RoundContext(seed=1, round=number, sender=Client("a"), layout=Layout.flat(1000))
    ...     found.append(decode(subspace(0.1), encode(subspace(0.1), x, {}, context)[0], context))
    >>> one_and_mean = found[0], np.mean(found, axis=0)
    >>> [round(float(np.square(y - x).sum() / np.square(x).sum()), 2) for y in one_and_mean]
    [8.33, 0.02]
    """
    checks.fraction(fraction=fraction)
    checks.flag(unbiased=unbiased)
    fraction = float(fraction)
    name = f"subspace({fraction!r})" if unbiased else f"subspace({fraction!r}, unbiased=False)"

    def drawn(context: RoundContext, n: int) -> tuple[Rotation, NDArray[np.int64]]:
        draw = generator(context.seed, "subspace", round=context.round)
        return Rotation.drawn(n, draw), at_random(draw, n, count(fraction, n))

    def encode(payload: Payload, state: Arrays, context: RoundContext) -> tuple[Payload, Arrays]:
        x = payload.values
        require_finite(name, x)
        rotation, kept = drawn(context, len(x))
        size = largest_power(x)
        y = np.ldexp(x, -size)
        rotation.turn(y)
        factor = len(x) / len(kept) if unbiased and len(x) else 1.0
        with np.errstate(over="ignore"):
            sent = np.ldexp(y[kept] * np.float32(factor), size)
        require_finite(name, sent)
        return payload.replace(sent), {}

    def decode(payload: Payload, n: int, context: RoundContext) -> Payload:
        rotation, kept = drawn(context, n)
        sent = take(payload, "values", np.floating)
        size = largest_power(sent)
        y = scatter(np.ldexp(sent, -size).astype(np.float32), kept, n, name)
        rotation.turn_back(y)
        with np.errstate(over="ignore"):
            return payload.replace(np.ldexp(y, size))

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
