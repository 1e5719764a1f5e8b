"""One step of the update pipeline.

A `Transform` has two halves. `encode` runs on the client and turns what is to
be sent into less, or into something safer; `decode` runs on the server and
undoes it as far as it can be undone.
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
        unbiased: the expectation of the decoded values, over the step's
            randomness, is what was encoded.
        stateful: the client keeps something from one round to the next.
        contractive: the error never exceeds what is encoded, `|x - decoded| <= |x|`;
            without that, error feedback would not converge.
        max_weight: the largest weight that the step gives.
        conditions: what the step asks of the strategy that it is put into.
        protection: what it has to do with masks and noise.
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
    conditions: tuple[Condition, ...] = ()
    protection: Protection = field(default_factory=Protection)

    @cached_property
    def sum_only(self) -> bool:
        """Whether a single payload must never be decoded."""
        return self.protection.secure is not None

    @cached_property
    def summed(self) -> type[np.integer[Any] | np.float32]:
        """What the values of a summable payload are: the whole numbers of a mask or noise, or real ones."""
        return np.integer if self.sum_only or self.protection.max_int(0) else np.float32

    @property
    def traits(self) -> frozenset[str]:
        """The step's traits, which the conditions of other parts name."""
        own = [name for name in ("summable", "stateful") if getattr(self, name)]
        return frozenset(self.kinds) | self.protection.traits | frozenset(own)

    def __repr__(self) -> str:
        return self.name
