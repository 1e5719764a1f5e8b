"""Sequences of steps: `chain` encodes from left to right and decodes from right to left."""

from collections.abc import Sequence
from math import prod

from hedgerow import checks
from hedgerow.strategies.pipeline.ordering import refuse_impossible
from hedgerow.strategies.pipeline.transform import STEPS, Transform
from hedgerow.strategies.protection import Protection
from hedgerow.types import Arrays, Payload, RoundContext, Vector


def chain(*steps: Transform) -> Transform:
    """Join steps: encode from left to right, decode from right to left.

    The result is a `Transform` again. It is summable, unbiased and so on only if
    all its steps are.

    Raises:
        ValueError: the order cannot work; the message gives the reason and a
            remedy.

    >>> from hedgerow.strategies import quantize, top_k
    >>> chain(top_k(0.01), quantize(8)).name
    'chain(top_k(0.01), quantize(8))'
    >>> chain(quantize(8), top_k(0.1))
    Traceback (most recent call last):
    ...
    ValueError: top_k(0.1) cannot follow quantize(8): packed codes have no order; put the sparsifier first
    """
    for step in steps:
        checks.kind(Transform, STEPS, **{"a step": step})
    if len(steps) == 1:
        return steps[0]
    refuse_impossible(steps)

    def encode(payload: Payload, state: Arrays, context: RoundContext) -> tuple[Payload, Arrays]:
        after: dict[str, Vector] = {}
        for position, step in enumerate(steps):
            mine, kept = f"{position}.", {}
            if step.stateful:
                kept = {k.removeprefix(mine): v for k, v in state.items() if k.startswith(mine)}
            payload, new = step.encode(payload, kept, context)
            after.update({mine + k: v for k, v in new.items()})
        return payload, after

    def decode(payload: Payload, n: int, context: RoundContext) -> Payload:
        lengths = []
        for step in steps:
            lengths.append(n)
            n = step.length(n)
        for step, before in zip(reversed(steps), reversed(lengths), strict=True):
            payload = step.decode(payload, before, context)
        return payload

    def length(n: int) -> int:
        for step in steps:
            n = step.length(n)
        return n

    return Transform(
        name=f"chain({', '.join(s.name for s in steps)})" if steps else "float32()",
        kinds=tuple(kind for step in steps for kind in step.kinds),
        encode=encode,
        decode=decode,
        length=length,
        summable=all(s.summable for s in steps),
        unbiased=all(s.unbiased for s in steps),
        stateful=any(s.stateful for s in steps),
        contractive=all(s.contractive for s in steps),
        max_weight=prod(s.max_weight for s in steps),
        code_bits=steps[-1].code_bits if steps else 0,
        conditions=tuple(condition for step in steps for condition in step.conditions),
        protection=_together([step.protection for step in steps]),
    )


def _together(parts: Sequence[Protection]) -> Protection:
    """How a sequence of steps relates to masks and noise."""

    def max_int(largest: int) -> int:
        for part in parts:
            largest = part.max_int(largest)
        return largest

    def max_sum(largest: int, clients: int, n: int) -> int:
        total = clients * largest
        for part in parts:
            if part.max_sum:
                total = part.max_sum(largest, clients, n)
            largest = part.max_int(largest)
        return total

    noise = next((part.noise for part in parts if part.noise), None)
    secure = next((part.secure for part in parts if part.secure), None)
    return Protection(
        max_int=max_int,
        max_sum=max_sum if any(part.max_sum for part in parts) else None,
        secure=secure.under(noise.min_honest) if secure and noise else secure,
        # The noise is calibrated to the last clip.
        server_clip=next((part.server_clip for part in reversed(parts) if part.server_clip), None),
        noise=noise,
    )


def float32() -> Transform:
    """Send every value as it is, in 4 bytes: the pipeline without steps.

    >>> float32().summable
    True
    """
    return chain()
