"""Weighting: how much a client's update counts."""

from hedgerow import checks
from hedgerow.strategies.pipeline.transform import Transform
from hedgerow.types import Arrays, Payload, PayloadError, RoundContext
from hedgerow.types.payload import MOST_EXAMPLES


@checks.arguments
def weight_by_examples(max_weight: int = 1_000_000) -> Transform:
    """Weight a client by the number of samples it trained on.

    Without this step every client counts the same. The values are unchanged; the
    payload's weight is the number of samples, at most `max_weight` (`n_k` in
    McMahan et al. 2017, arXiv:1602.05629, algorithm 1).

    Raises:
        ValueError: `max_weight` is not a whole number from 1 to 2**40; when
            encoding, the client has no samples.

    >>> from hedgerow.strategies import encode
    >>> from hedgerow.types import Client, Layout
    >>> import numpy as np
    >>> context = RoundContext(seed=1, round=1, sender=Client("a"), layout=Layout.flat(2), num_examples=600)
    >>> encode(weight_by_examples(), np.zeros(2, np.float32), {}, context)[0].weight
    600.0
    """
    checks.whole(1, MOST_EXAMPLES, max_weight=max_weight)
    largest = int(max_weight)

    def encode(payload: Payload, state: Arrays, context: RoundContext) -> tuple[Payload, Arrays]:
        if context.num_examples < 1:
            raise ValueError(
                f"client {context.client!r} trained on {context.num_examples} samples; weight_by_examples"
                " needs at least 1: leave clients without data out of the cohort"
            )
        return Payload(payload.arrays, float(min(context.num_examples, largest))), {}

    def decode(payload: Payload, n: int, context: RoundContext) -> Payload:
        # The weight of a sum is the total of the weights.
        if not context.sender.is_sum and not (1 <= payload.weight <= largest and payload.weight.is_integer()):
            raise PayloadError(f"the weight is {payload.weight}; it must be whole, from 1 to {largest}")
        return payload

    return Transform(
        name="weight_by_examples()" if largest == 1_000_000 else f"weight_by_examples({largest})",
        kinds=("weight",),
        encode=encode,
        decode=decode,
        summable=True,
        max_weight=largest,
    )
