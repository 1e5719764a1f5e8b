"""FedNova: clients influence the model equally, however many local steps they take.

Wang et al. 2020 (arXiv:2007.07481).

A client's delta is divided by the reach of its steps, `||a_i||_1`, and the
server multiplies the mean by the mean reach (equation 5, with the weights `p_i`
of FedAvg). The fixed point is therefore that of the clients' weighted loss,
whatever the numbers of steps.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Unpack

import numpy as np

from hedgerow import checks
from hedgerow.strategies.conditions import Condition, excludes, needs, within
from hedgerow.strategies.origin import described
from hedgerow.strategies.parts import Parts, assemble, local_of, pipeline_of
from hedgerow.strategies.pipeline.chain import chain
from hedgerow.strategies.pipeline.transform import Transform
from hedgerow.strategies.server_update import ServerUpdate
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.streams import LocalRound, Stream, Totals
from hedgerow.types import Arrays, LocalTraining, Payload, RoundContext, Vector

_COUNTED_STEPS = 100_000


@checks.arguments
@described
def fednova(server_learning_rate: float = 1.0, **parts: Unpack[Parts]) -> Strategy:
    """FedNova, Wang et al. 2020 (arXiv:2007.07481, algorithm of section 4).

    In addition to its delta, a client sends one number, the reach of its steps; under a
    mask, only the weighted mean of the reaches is known. Momentum, weight decay and a
    proximal term are supported. With `LocalTraining.max_steps`, no mean above the reach
    of so many steps counts, whatever clients claim.

    Raises:
        ValueError: the optimizer is not SGD, or the pipeline adds noise.

    >>> fednova().pipeline.name
    'chain(weight_by_examples(), divide_by_reach(0.0, 0.0, 0.1))'
    """
    checks.positive(server_learning_rate=server_learning_rate)
    local = local_of(parts)
    pull = local.proximal + local.weight_decay
    given = pipeline_of(parts)
    pipeline = chain(
        divide_by_reach(local.momentum, pull, local.learning_rate), *([given] if given.kinds else [])
    )
    rate, most = np.float32(server_learning_rate), _largest_reach(local, pull)

    def apply(w: Vector, delta: Vector, state: Arrays, totals: Totals) -> tuple[Vector, Arrays]:
        return w + rate * np.clip(totals.streams["reach"][0], 0, most) * delta, state

    update = ServerUpdate(f"fednova({server_learning_rate})", lambda d: {}, apply)
    others: Parts = {**parts, "pipeline": pipeline}
    return assemble("fednova", update, others, streams=(_reaches(local.momentum, pull),))


def divide_by_reach(momentum: float, pull: float, learning_rate: float) -> Transform:
    """Divide a delta by the reach of the client's local steps.

    Args:
        momentum: of the steps.
        pull: sum of weight decay and proximal term.
        learning_rate: of the steps; used only with a pull.
    """

    def encode(payload: Payload, state: Arrays, context: RoundContext) -> tuple[Payload, Arrays]:
        far = np.float32(reach(context.steps, momentum, pull, learning_rate))
        return payload.replace(payload.values / far), {}

    return Transform(
        name=f"divide_by_reach({momentum}, {pull}, {learning_rate})",
        kinds=("normalize",),
        encode=encode,
        decode=lambda payload, n, context: payload,
        summable=True,
    )


def reach(steps: int, momentum: float, pull: float, learning_rate: float) -> float:
    """`||a||_1` of `steps` SGD steps: how far a gradient of 1 moves a value, in learning rates.

    >>> reach(5, 0.0, 0.0, 0.1)
    5.0
    >>> round(reach(2, 0.5, 0.0, 0.1), 6)  # 1, and 1 + 0.5
    2.5
    """
    return next(islice(_reaches_of(momentum, pull, learning_rate), steps, None))


def _reaches_of(momentum: float, pull: float, learning_rate: float) -> Iterator[float]:
    """The reach of 0 steps, of 1, of 2 and so on."""
    moved = velocity = 0.0
    while True:
        yield moved
        velocity = momentum * velocity + 1.0 - pull * learning_rate * moved
        moved += velocity


def _largest_reach(local: LocalTraining, pull: float) -> np.float32:
    """The largest reach that a client can have; infinite if nothing, or a huge number, limits its steps."""
    if not 0 < local.max_steps <= _COUNTED_STEPS:
        return np.float32(np.inf)
    reaches = _reaches_of(local.momentum, pull, local.learning_rate)
    return np.float32(max(islice(reaches, local.max_steps + 1)))


def _reaches(momentum: float, pull: float) -> Stream:
    def encode(local: LocalRound) -> tuple[Vector, Arrays]:
        return np.array([reach(local.steps, momentum, pull, local.learning_rate)], np.float32), {}

    return Stream(
        "reach",
        size=lambda layout: 1,
        encode=encode,
        update=lambda value, aggregate, totals: value,
        initial=lambda layout: np.empty(0, np.float32),
        masked=True,
        conditions=_conditions(),
    )


def _conditions() -> tuple[Condition, ...]:
    return within(
        "fednova does not fit here",
        needs("sgd", reason="the reach of {local.optimizer}'s steps is not known; use optimizer 'sgd'"),
        excludes(
            "clip_gradient",
            reason="a clipped gradient reaches less far than assumed; leave out clip_gradient",
        ),
        Condition(
            lambda strategy: (
                strategy.local.learning_rate_decay != 1
                and bool(strategy.local.proximal or strategy.local.weight_decay)
            ),
            "with a proximal term or weight decay, the learning rate must be constant; leave out its decay",
        ),
        excludes(
            *("noise", "discrete noise"),
            reason="reaches would be sent without noise, next to what {pipeline.name} protects; use"
            " dp_fedavg, whose clip bounds a client that takes many steps",
        ),
        needs(
            "linear",
            reason="reaches are averaged, which admits outliers that {aggregate.name} keeps out; use mean()",
        ),
    )
