"""When clients may report how well a model does on their own samples, and what they report under a mask."""

import math
from collections.abc import Mapping

import numpy as np

from hedgerow import checks
from hedgerow.ring.arithmetic import Ring
from hedgerow.ring.secagg import SecureAggregation
from hedgerow.ring.vector import MOST_CLIENTS, RING_FRACTION_BITS, RingSum, RingVector, Shape
from hedgerow.strategies.conditions import Condition, excludes, within
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.transforms.mask import METRIC_RANGE, MOST_EXAMPLES, metric_words
from hedgerow.types.evaluation import FRACTIONS, LESS_IS_BETTER, Measured

NOTHING = Measured(0, {})
"""What a client adds that holds no samples out."""


def refuse_evaluation(strategy: Strategy) -> str:
    """Why clients must not measure models beside a strategy, masked or not; an empty text where they may.

    >>> from hedgerow.strategies import secure_fedavg
    >>> refuse_evaluation(secure_fedavg(clip_norm=1.0))
    ''
    """
    return _first(strategy, _NOISED)


def refuse_client_evaluation(strategy: Strategy) -> str:
    """Why clients must not report their own metrics in the clear; an empty string if they may.

    A client would report its metrics in the clear, with its number of held-out
    samples: they reveal more about it than a masked or noisy update.

    >>> from hedgerow.strategies import fedavg, secure_fedavg
    >>> refuse_client_evaluation(fedavg())
    ''
    >>> refuse_client_evaluation(secure_fedavg(clip_norm=1.0))[:26]
    'it must be left out: chain'
    """
    return _first(strategy, _ALONE + _NOISED)


def measured_shape(secure: SecureAggregation, clients: int) -> Shape:
    """What each of a cohort adds to the sum of what they measure: no values, and numbers of 64 bits.

    Raises:
        ValueError: the cohort is too large for these numbers.

    >>> measured_shape(SecureAggregation(), 100).words
    7
    """
    checks.whole(1, MOST_CLIENTS, clients=clients)
    return Shape(Ring(1), 0, secure.measured, 0, clients)


def measured_vector(measured: Measured, shape: Shape) -> RingVector:
    """What a client has measured, as numbers of the ring: for each metric the samples, and the sum over them.

    A loss is cut to 1024 in size, whatever it is; what is not a number counts as the worst that there is, so
    that no model looks better for it. Metrics that the shape does not name are left out.

    Raises:
        ValueError: a fraction, such as the accuracy, is none.
    """
    words = [1]
    for name in shape.metrics:
        words += metric_words(_bounded(name, measured.metrics.get(name)), measured.num_examples)
    return RingVector(np.zeros(0, shape.ring.dtype), np.array(words, np.int64).view(np.uint64))


def measured_means(total: RingSum, counted: int) -> Mapping[str, float]:
    """Each metric's mean over the held-out samples of the clients that count.

    Raises:
        ValueError: no honest clients add up to that, or they hold nothing out.
    """
    signed = [int(number) for number in total.words.view(np.int64)]
    honest = signed[0] == counted
    for place, name in enumerate(total.shape.metrics):
        (low, high), (samples, sum_) = _range(name), signed[1 + 2 * place : 3 + 2 * place]
        scaled = samples << RING_FRACTION_BITS
        honest &= 0 <= samples <= counted * MOST_EXAMPLES and low * scaled <= sum_ <= high * scaled
    if not honest:
        raise ValueError(
            "what clients measured adds up to what no honest ones would have: somebody has sent something"
            " else; under a mask nobody can say who"
        )
    if not (means := total.metrics()):
        raise ValueError(f"no client has measured any of {', '.join(total.shape.metrics) or 'no metrics'}")
    return means


def _range(name: str) -> tuple[int, int]:
    return (0, 1) if name in FRACTIONS else (-int(METRIC_RANGE), int(METRIC_RANGE))


def _bounded(name: str, value: float | None) -> float | None:
    low, high = _range(name)
    if value is None:
        return None
    if math.isnan(value):
        return high if name in LESS_IS_BETTER else low
    if name in FRACTIONS and not low <= value <= high:
        raise ValueError(f"{name} is {value}; it must be from 0 to 1; call what it is something else")
    return value


def _first(strategy: Strategy, conditions: tuple[Condition, ...]) -> str:
    whys = (condition.why_broken(strategy) for condition in conditions)
    return next((why for why in whys if why), "")


_LEFT_OUT = "it must be left out"

_ALONE = within(
    _LEFT_OUT,
    excludes(
        "mask",
        reason="{pipeline.name} shows the server only a sum, and the metrics of each client's own samples"
        " would be sent without a mask",
    ),
)

_NOISED = within(
    _LEFT_OUT,
    excludes(
        *("noise", "discrete noise"),
        reason="{name} promises an epsilon for each client, and the metrics of its own samples would be"
        " sent without noise",
    ),
    excludes(
        "sample_noise",
        reason="sample_noise promises an epsilon for each sample, and the metrics of a client's own samples"
        " would be sent without noise",
    ),
)
