"""One step of the update pipeline, and how steps are joined.

A `Transform` has two halves. `encode` runs on the client and turns what is to
be sent into less, or into something safer; `decode` runs on the server and
undoes it as far as it can be undone. `chain` encodes left to right, decodes
right to left, and refuses an order that cannot work when it is built.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import isfinite, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hedgerow.strategies.release import Bounding, Noise
from hedgerow.strategies.secrecy import SecureAggregation
from hedgerow.types import Arrays, Payload, PayloadError, RoundContext, Vector

Encode = Callable[[Payload, Arrays, RoundContext], tuple[Payload, Arrays]]
"""`(payload, client state, context) -> (payload, new client state)`."""

Decode = Callable[[Payload, int, RoundContext], Payload]
"""`(payload, number of values before this step, context) -> payload`."""


@dataclass(frozen=True, repr=False)
class Transform:
    """One step of the pipeline, and what it declares about itself.

    Attributes:
        name: as written in a configuration, such as `"quantize(bits=8)"`.
        kinds: what the step does, from `KINDS`, in order; a chain has those of
            its steps. The order rules look at nothing else.
        encode: the client's half. An empty state is a fresh client.
        decode: the server's half. Raises `PayloadError` where the arrays do
            not fit. For a payload that this step encoded, it returns values of
            the length given.
        length: number of values after the step, from the number before.
        summable: decoding is linear, so that it may run once, on a weighted
            sum of payloads.
        only_sum: a single payload must never be decoded.
        unbiased: the expectation of the decoded values, over the step's
            randomness, is what was encoded.
        stateful: the client keeps something from one round to the next.
        expands: the error can exceed what is encoded, `|x - decoded| > |x|`,
            so that error feedback would not settle.
        sensitivity: the l2 bound after the step, from the bound before it
            (infinity where there is none).
        whole: the largest size of the whole numbers after the step, from that
            before it; 0 where the values are not whole numbers. The ring of a
            mask follows from it.
        largest_sum: the largest size of a sum of whole numbers after the step,
            from that before it and the numbers of clients and values; `None`
            where it is so many times the largest.
        max_weight: the largest weight that the step gives.
        secure: what clients insist on, where the step masks.
        bounding: of a clip, its half on the server.
        noise: of a noise, its half on the server: what is added to a sum, and
            the event that this is to the ledger.
    """

    name: str
    kinds: tuple[str, ...]
    encode: Encode
    decode: Decode
    length: Callable[[int], int] = lambda n: n
    summable: bool = False
    only_sum: bool = False
    unbiased: bool = True
    stateful: bool = False
    expands: bool = False
    sensitivity: Callable[[float], float] = lambda bound: bound
    whole: Callable[[int], int] = lambda largest: largest
    largest_sum: Callable[[int, int, int], int] | None = None
    max_weight: int = 1
    secure: SecureAggregation | None = None
    bounding: Bounding | None = None
    noise: Noise | None = None

    def __repr__(self) -> str:
        return self.name


KINDS = ("weight", "clip", "noise", "feedback", "sparsify", "quantize", "discrete noise", "mask")

# (first, then): why `then` cannot follow `first`, and what to do instead.
_REFUSED: dict[tuple[str, str], tuple[str, str]] = {
    ("quantize", "quantize"): ("the values are whole numbers already", "keep one of the two"),
    ("sparsify", "sparsify"): ("the indices of the first would be lost", "keep one of the two"),
    ("quantize", "sparsify"): ("packed codes have no order", "put the sparsifier first"),
    ("quantize", "clip"): ("packed codes have no norm", "put the clip before it"),
    ("quantize", "noise"): ("packed codes take no real-valued noise", "put the noise before it"),
    ("noise", "clip"): ("the noise would be measured against no bound", "put the clip first"),
    ("noise", "noise"): ("the ledger counts one noise a round", "keep one of the two"),
    ("noise", "discrete noise"): ("the ledger counts one noise a round", "keep one of the two"),
    ("noise", "feedback"): (
        "a residual shows in rounds in which its client is not",
        "leave out error_feedback",
    ),
    ("discrete noise", "noise"): ("the ledger counts one noise a round", "keep one of the two"),
    ("discrete noise", "discrete noise"): ("the ledger counts one noise a round", "keep one of the two"),
    ("discrete noise", "clip"): ("the noise would be measured against no bound", "put the clip first"),
    ("discrete noise", "quantize"): ("its noise is in whole steps already", "put the quantizer first"),
    ("discrete noise", "sparsify"): ("noise would go where no value is sent", "put the sparsifier first"),
    ("discrete noise", "feedback"): ("the residual lifts every bound", "leave out error_feedback"),
    ("quantize", "feedback"): ("packed codes have no residual", "put it inside error_feedback"),
    ("sparsify", "clip"): ("the bound would hold for the sent values only", "put the clip first"),
    ("sparsify", "noise"): ("noise on the sent values alone protects nothing", "put clip and noise first"),
    ("sparsify", "feedback"): ("its residual would miss what was dropped", "put it inside error_feedback"),
    ("feedback", "feedback"): ("the second residual would always be zero", "keep one of the two"),
    ("feedback", "clip"): ("what is clipped would be missing from the residual", "put the clip first"),
    ("feedback", "noise"): ("the residual lifts every bound", "put clip and noise first"),
    ("feedback", "discrete noise"): ("the residual lifts every bound", "leave out error_feedback"),
    ("mask", "quantize"): ("masked values are uniform in the ring and cannot be rounded", "quantize first"),
    ("mask", "sparsify"): ("masks would no longer cancel", "put random_k before the mask"),
    ("mask", "clip"): ("masked values have no norm", "put the clip first"),
    ("mask", "noise"): ("masked values take no noise", "put discrete noise before the mask"),
    ("mask", "discrete noise"): ("masked values take no noise", "put discrete noise before the mask"),
    ("mask", "mask"): ("one mask is enough", "keep one of the two"),
    ("mask", "feedback"): ("masked values cannot be added to a residual", "put error_feedback first"),
}


def chain(*steps: Transform) -> Transform:
    """Join steps: encode from left to right, decode from right to left.

    The result is a `Transform` again. Its parts are what all of its steps are:
    summable and unbiased if every one is.

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
    others = [step for step in steps if not isinstance(step, Transform)]
    if others:
        raise ValueError(f"a step is {others[0]!r}; it must be a Transform, such as quantize(8)")
    if len(steps) == 1:
        return steps[0]
    _refuse_impossible(steps)

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

    def sensitivity(bound: float) -> float:
        for step in steps:
            bound = step.sensitivity(bound)
        return bound

    def whole(largest: int) -> int:
        for step in steps:
            largest = step.whole(largest)
        return largest

    def largest_sum(largest: int, clients: int, n: int) -> int:
        total = clients * largest
        for step in steps:
            if step.largest_sum:
                total = step.largest_sum(largest, clients, n)
            largest = step.whole(largest)
        return total

    noise = next((s.noise for s in steps if s.noise), None)
    secure = next((s.secure for s in steps if s.secure), None)
    return Transform(
        name=f"chain({', '.join(s.name for s in steps)})" if steps else "float32()",
        kinds=tuple(kind for step in steps for kind in step.kinds),
        encode=encode,
        decode=decode,
        length=length,
        summable=all(s.summable for s in steps),
        only_sum=any(s.only_sum for s in steps),
        unbiased=all(s.unbiased for s in steps),
        stateful=any(s.stateful for s in steps),
        expands=any(s.expands for s in steps),
        sensitivity=sensitivity,
        whole=whole,
        largest_sum=largest_sum if any(s.largest_sum for s in steps) else None,
        max_weight=prod(s.max_weight for s in steps),
        secure=secure.under(noise.fewest) if secure and noise else secure,
        # The last clip is the one that the noise is measured against.
        bounding=next((s.bounding for s in reversed(steps) if s.bounding), None),
        noise=noise,
    )


def float32() -> Transform:
    """Send every value as it is, 4 bytes each: the pipeline with no step.

    >>> float32().summable
    True
    """
    return chain()


def encode(
    pipeline: Transform, delta: Vector, state: Arrays, context: RoundContext, *, finite: bool = False
) -> tuple[Payload, Arrays]:
    """Turn a client's delta `(d,) float32` into what is sent, and the client's new state.

    With `finite`, it is known that the delta is.

    Raises:
        ValueError: the delta has another dtype or shape, or is not finite.
    """
    d = context.layout.dimension
    if delta.dtype != np.float32 or delta.shape != (d,):
        raise ValueError(f"the delta is {delta.dtype} {delta.shape}; it must be float32 {(d,)}")
    if not finite:
        require_finite("the delta", delta)
    payload, state = pipeline.encode(Payload({"values": delta}), state, context)
    return payload, state


def decode(pipeline: Transform, payload: Payload, context: RoundContext) -> Vector:
    """Turn what was sent back into a delta `(d,) float32`.

    Raises:
        PayloadError: the payload is not one that this pipeline can have made.
    """
    d = context.layout.dimension
    if context.client:
        check_payload(pipeline, payload, context)
    decoded = pipeline.decode(payload, d, context)
    with np.errstate(over="ignore"):
        decoded = decoded.replace(take(decoded, "values", np.floating).astype(np.float32, copy=False))
    _check_values(decoded, d, np.float32)
    return decoded.values


def check_payload(
    pipeline: Transform, payload: Payload, context: RoundContext, *, finite: bool = True
) -> None:
    """Refuse what cannot be one client's payload, also where it is added to a sum before it is decoded.

    Looks at the weight and, for a summable pipeline, at the values; `decode`
    looks at the rest. Without `finite`, whoever takes the values has to look
    whether they are.

    Raises:
        PayloadError: with what was given and what is allowed.
    """
    if not (isfinite(payload.weight) and payload.weight > 0):
        raise PayloadError(f"the weight is {payload.weight}; it must be a number above 0")
    if "weight" not in pipeline.kinds and payload.weight != 1:
        raise PayloadError(f"the weight is {payload.weight}; every client counts 1 in {pipeline.name}")
    if pipeline.summable:
        whole_or_real = np.integer if pipeline.only_sum or pipeline.whole(0) else np.float32
        _check_values(payload, pipeline.length(context.layout.dimension), whole_or_real, finite=finite)


def take(payload: Payload, name: str, dtype: type[Any]) -> NDArray[Any]:
    """One array of a payload, for `decode` of a step.

    Raises:
        PayloadError: it is missing, not one-dimensional, or not of that dtype
            (an abstract dtype such as `np.floating` stands for all of its kind).
    """
    if name not in payload.arrays:
        raise PayloadError(f"the array {name!r} is missing; there is {sorted(payload.arrays)}")
    array = payload.arrays[name]
    if array.ndim != 1 or not np.issubdtype(array.dtype, dtype):
        raise PayloadError(
            f"the array {name!r} is {array.dtype} {array.shape}; it must be one-dimensional {dtype.__name__}"
        )
    return array


def require_finite(step: str, values: NDArray[Any]) -> None:
    """Refuse to encode values that are not finite.

    Raises:
        ValueError: names the step, the first such value and its position.
    """
    if not _all_finite(values):
        finite = np.isfinite(values)
        position = int(np.argmin(finite))
        raise ValueError(
            f"{step}: {len(values) - int(finite.sum())} of {len(values)} values are not finite; the first is"
            f" {values[position]} at position {position}. Training has diverged: try a smaller learning rate"
        )


def _check_values(payload: Payload, n: int, dtype: type[Any], *, finite: bool = True) -> None:
    values = take(payload, "values", dtype)
    extra = sorted(set(payload.arrays) - {"values"})
    if extra:
        raise PayloadError(f"the arrays {extra} are left over; no step of the pipeline reads them")
    if len(values) != n:
        raise PayloadError(f"there are {len(values)} values; there must be {n}")
    if finite and not _all_finite(values):
        raise PayloadError(f"{n - int(np.isfinite(values).sum())} of {n} values are not finite")


def _all_finite(values: NDArray[Any]) -> bool:
    # Neither NaN nor infinity can hide from both; this takes half the time of looking at each value.
    return not len(values) or (isfinite(values.max()) and isfinite(values.min()))


def _refuse_impossible(steps: tuple[Transform, ...]) -> None:
    for first, then in combinations(steps, 2):
        for pair in ((a, b) for a in first.kinds for b in then.kinds):
            if pair in _REFUSED:
                reason, remedy = _REFUSED[pair]
                raise ValueError(f"{then.name} cannot follow {first.name}: {reason}; {remedy}")
    kinds = [kind for step in steps for kind in step.kinds]
    private = "noise" in kinds or "discrete noise" in kinds
    if private and "clip" in kinds and "weight" in kinds:
        # Also with the weight first: the server applies it to what the clip has bounded.
        raise ValueError(
            "weighting and clip cannot go together under differential privacy: a client's weight would scale"
            " its clipped update past the bound; remove the weighting, so that all clients count the same"
        )
    for step in steps[: max((i for i, s in enumerate(steps) if "mask" in s.kinds), default=0)]:
        if not step.summable:
            remedy = "use steps that are summable"
            if "sparsify" in step.kinds:
                remedy = "use random_k, which all clients draw alike"
            elif "quantize" in step.kinds:
                remedy = "give it a range that all clients share, such as quantize(8, range=0.1)"
            raise ValueError(
                f"{step.name} cannot come before a mask: clients would encode differently, and masks only"
                f" cancel in a sum that can be decoded as one; {remedy}"
            )
