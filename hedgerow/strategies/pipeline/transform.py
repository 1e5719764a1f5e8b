"""One step of the update pipeline.

A `Transform` has two halves. `encode` runs on the client and turns what is to
be sent into less, or into something safer; `decode` runs on the server and
undoes it as far as it can be undone.
"""

from collections.abc import Callable
from dataclasses import dataclass

from hedgerow.ring.secrecy import SecureAggregation
from hedgerow.strategies.release import Bounding, Noise
from hedgerow.types import Arrays, Payload, RoundContext

Encode = Callable[[Payload, Arrays, RoundContext], tuple[Payload, Arrays]]
"""`(payload, client state, context) -> (payload, new client state)`."""

Decode = Callable[[Payload, int, RoundContext], Payload]
"""`(payload, number of values before this step, context) -> payload`."""

STEPS = ", such as quantize(8), or parse_pipeline('quantize(8)')"
"""What else to give, for an error."""


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
