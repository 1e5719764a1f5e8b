"""One step of the update pipeline.

A `Transform` has two sides. `encode` runs on the client and makes the payload
smaller or safer; `decode` runs on the server and reverses this as far as
possible.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from hedgerow.strategies.conditions import Condition
from hedgerow.strategies.protection import Protection
from hedgerow.types import Arrays, Payload, RoundContext

Encode = Callable[[Payload, Arrays, RoundContext], tuple[Payload, Arrays]]
"""`(payload, client state, context) -> (payload, new client state)`."""

Decode = Callable[[Payload, int, RoundContext], Payload]
"""`(payload, number of values before this step, context) -> payload`."""

STEPS = ", such as quantize(8), or parse_pipeline('quantize(8)')"
"""Example for the error about a step."""


@dataclass(frozen=True, repr=False)
class Transform:
    """One step of the pipeline, and what it declares about itself.

    Attributes:
        name: as written in a configuration, such as `"quantize(bits=8)"`.
        kinds: what the step does, from `KINDS`, in order; a chain has those of
            its steps. The rules of order depend on nothing else.
        encode: the client side. A new client has an empty state.
        decode: the server side. Raises `PayloadError` if the arrays do not fit.
            For a payload that this step encoded, it returns as many values as
            requested.
        length: number of values after the step, from the number before.
        summable: decoding is linear, so it may run once, on a weighted sum of
            payloads.
        unbiased: the expectation of the decoded values, over the step's
            randomness, equals the encoded values.
        stateful: the client keeps state from one round to the next.
        contractive: the error never exceeds the input, `|x - decoded| <= |x|`;
            otherwise error feedback would not converge.
        max_weight: the largest weight that the step assigns.
        code_bits: bits of each code, if `"values"` are then packed codes (`ring.packing.pack`), one for
            each of the values after the step; otherwise 0.
        conditions: the step's conditions on the strategy that contains it.
        protection: how it relates to masks and noise.
    """

    name: str
    kinds: tuple[str, ...]
    encode: Encode
    decode: Decode
    length: Callable[[int], int] = lambda n: n
    summable: bool = False
    unbiased: bool = True
    stateful: bool = False
    contractive: bool = True
    max_weight: int = 1
    code_bits: int = 0
    conditions: tuple[Condition, ...] = ()
    protection: Protection = field(default_factory=Protection)

    @cached_property
    def sum_only(self) -> bool:
        """Whether a single payload must never be decoded."""
        return self.protection.secure is not None

    @cached_property
    def summed(self) -> type[np.integer[Any] | np.float32]:
        """The dtype of a summable payload's values: integers for a mask or discrete noise, or float32."""
        return np.integer if self.sum_only or self.protection.max_int(0) else np.float32

    @property
    def traits(self) -> frozenset[str]:
        """The step's traits, for the conditions of other parts."""
        own = [name for name in ("summable", "stateful") if getattr(self, name)]
        return frozenset(self.kinds) | self.protection.traits | frozenset(own)

    def __repr__(self) -> str:
        return self.name
