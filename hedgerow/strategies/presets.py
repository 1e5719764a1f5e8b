"""Well-known algorithms, each assembled from a few parts."""

import math
from dataclasses import replace
from typing import Unpack

from hedgerow import checks
from hedgerow.privacy.accounting import Budget
from hedgerow.registry import Registry
from hedgerow.ring.arithmetic import MOST_BITS
from hedgerow.ring.secagg import SecureAggregation
from hedgerow.strategies import server_update
from hedgerow.strategies.origin import described, private
from hedgerow.strategies.parts import Parts, assemble, local_of, pipeline_of, weighted_of
from hedgerow.strategies.pipeline.chain import chain
from hedgerow.strategies.pipeline.transform import Transform
from hedgerow.strategies.sampling import Sampling, cyclic, poisson
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.transforms.client_noise import (
    distributed_noise,
    randomized_round,
    skellam_noise,
    unit_for,
)
from hedgerow.strategies.transforms.clipping import adaptive_clip, clip
from hedgerow.strategies.transforms.compression import quantize
from hedgerow.strategies.transforms.mask import mask
from hedgerow.strategies.transforms.noise import banded_noise, gaussian_noise
from hedgerow.strategies.transforms.weighting import weight_by_examples
from hedgerow.types.payload import MOST_EXAMPLES

PRESETS = Registry(
    "strategy",
    "hedgerow.strategies",
    {
        name: f"hedgerow.strategies.presets:{name}"
        for name in (
            *("fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi", "fedadagrad"),
            *("secure_fedavg", "dp_fedavg", "dp_ftrl", "secure_dp_fedavg"),
        )
    }
    | {
        name: f"hedgerow.strategies.algorithms.{name}:{name}"
        for name in ("scaffold", "fednova", "feddyn", "fedper", "fedbn", "fedbuff", "fedasync")
    },
)


@checks.arguments
@described
def fedavg(**parts: Unpack[Parts]) -> Strategy:
    """Federated averaging, McMahan et al. 2017 (arXiv:1602.05629, algorithm 1).

    >>> from hedgerow.strategies import quantize
    >>> fedavg(pipeline=quantize(8)).pipeline.name
    'chain(weight_by_examples(), quantize(8))'
    """
    return assemble("fedavg", server_update.sgd(1.0), parts)


@checks.arguments
@described
def fedprox(mu: float = 0.01, **parts: Unpack[Parts]) -> Strategy:
    """FedAvg with a proximal term on the clients, Li et al. 2020 (arXiv:1812.06127, algorithm 2)."""
    checks.not_negative(mu=mu)
    local = replace(local_of(parts), proximal=mu)
    return assemble("fedprox", server_update.sgd(1.0), {**parts, "local": local})


@checks.arguments
@described
def fedavgm(
    server_learning_rate: float = 1.0, server_momentum: float = 0.9, **parts: Unpack[Parts]
) -> Strategy:
    """FedAvg with server momentum, Hsu et al. 2019 (arXiv:1909.06335)."""
    _check_server(server_learning_rate, server_momentum)
    return assemble("fedavgm", server_update.momentum(server_learning_rate, server_momentum), parts)


@checks.arguments
@described
def fedadam(
    server_learning_rate: float = 0.01, beta_1: float = 0.9, beta_2: float = 0.99, tau: float = 1e-3,
    **parts: Unpack[Parts],
) -> Strategy:  # fmt: skip
    """Adam on the server, Reddi et al. 2021 (arXiv:2003.00295, algorithm 2)."""
    checks.positive(server_learning_rate=server_learning_rate)
    return assemble("fedadam", server_update.adam(server_learning_rate, beta_1, beta_2, tau), parts)


@checks.arguments
@described
def fedyogi(
    server_learning_rate: float = 0.01, beta_1: float = 0.9, beta_2: float = 0.99, tau: float = 1e-3,
    **parts: Unpack[Parts],
) -> Strategy:  # fmt: skip
    """Yogi on the server, Reddi et al. 2021 (arXiv:2003.00295, algorithm 2)."""
    checks.positive(server_learning_rate=server_learning_rate)
    return assemble("fedyogi", server_update.yogi(server_learning_rate, beta_1, beta_2, tau), parts)


@checks.arguments
@described
def fedadagrad(server_learning_rate: float = 0.01, tau: float = 1e-3, **parts: Unpack[Parts]) -> Strategy:
    """Adagrad on the server, Reddi et al. 2021 (arXiv:2003.00295, algorithm 2)."""
    checks.positive(server_learning_rate=server_learning_rate)
    return assemble("fedadagrad", server_update.adagrad(server_learning_rate, tau), parts)


@checks.arguments
@described
def secure_fedavg(
    clip_norm: float = 10.0, bits: int = 12, value_range: float | None = None, max_examples: int = 1000,
    corrupt: float = 0.2, dropout: float = 0.2, min_clients: int = 10, metrics: str = "loss",
    **parts: Unpack[Parts],
) -> Strategy:  # fmt: skip
    """FedAvg under secure aggregation: the server sees only the sum, Bell et al. 2020 (eprint 2020/704).

    Updates are clipped, quantised to `bits` bits within `value_range` (by
    default the clip norm, which no value exceeds), and weighted by at most
    `max_examples`. Together with the size of the cohort, these determine how many
    bits are sent, see `quantize` and `mask`. A `pipeline`, such as
    `random_k(0.1)`, is placed before the quantiser.

    >>> secure_fedavg(clip_norm=1.0, bits=8).pipeline.name
    'chain(weight_by_examples(1000), clip(1.0), quantize(8, range=1.0), mask())'
    """
    checks.positive(clip_norm=clip_norm)
    checks.whole(1, MOST_EXAMPLES, max_examples=max_examples)
    if value_range is not None:
        checks.positive(value_range=value_range)
    pipeline = pipeline_of(parts)
    weights = [weight_by_examples(max_examples)] if weighted_of(parts, True) else []
    masked = chain(
        *([] if "weight" in pipeline.kinds else weights),
        clip(clip_norm),
        *([pipeline] if pipeline.kinds else []),
        quantize(bits, range=clip_norm if value_range is None else value_range),
        mask(corrupt, dropout, min_clients, metrics=metrics),
    )
    return assemble("secure_fedavg", server_update.sgd(1.0), {**parts, "pipeline": masked, "weighted": False})


@private(poisson)
@checks.arguments
@described
def dp_fedavg(
    clip_norm: float = 0.5, noise_multiplier: float = 1.0, delta: float = 1e-5, epsilon: float | None = None,
    clip_quantile: float | None = None, clip_share: float = 0.01, clip_learning_rate: float = 0.2,
    server_learning_rate: float = 1.0, server_momentum: float = 0.0, adjacency: str = "zero_out",
    **parts: Unpack[Parts],
) -> Strategy:  # fmt: skip
    """FedAvg with client-level differential privacy, McMahan et al. 2018 (arXiv:1710.06963, algorithm 1).

    Each delta is clipped and counts the same; the server adds noise to their sum
    once, and divides it by the expected cohort size. `delta`, `epsilon` and
    `adjacency` are those of a `Budget`. With `clip_quantile`, the norm starts at
    `clip_norm` and follows that quantile of the clients' norms (`adaptive_clip`).
    A `pipeline` may compress the clipped deltas.

    >>> from hedgerow.strategies import poisson
    >>> dp_fedavg(0.3, 1.1, sampling=poisson(20, population=1000)).pipeline.name
    'chain(clip(0.3), gaussian_noise(1.1))'
    """
    checks.positive(clip_norm=clip_norm, noise_multiplier=noise_multiplier)
    checks.positive(clip_learning_rate=clip_learning_rate)
    checks.inside(clip_share=clip_share)
    if clip_quantile is not None:
        checks.inside(clip_quantile=clip_quantile)
    bound = (
        clip(clip_norm)
        if clip_quantile is None
        else adaptive_clip(clip_norm, clip_quantile, clip_learning_rate, clip_share)
    )
    steps, budget = (bound, gaussian_noise(noise_multiplier)), Budget(delta, epsilon, adjacency)
    sampled: Parts = {"sampling": poisson(10, population=100), **parts}
    return _private("dp_fedavg", steps, budget, _step(server_learning_rate, server_momentum), sampled)


@private(cyclic)
@checks.arguments
@described
def dp_ftrl(
    clip_norm: float = 0.5, noise_multiplier: float = 4.0, delta: float = 1e-5, epsilon: float | None = None,
    bands: int = 8, horizon: int = 100,
    server_learning_rate: float = 1.0, server_momentum: float = 0.0, adjacency: str = "zero_out",
    **parts: Unpack[Parts],
) -> Strategy:  # fmt: skip
    """Client-level privacy without random cohorts: DP-FTRL with banded noise (arXiv:2306.08153).

    Cohorts take turns (`cyclic`), and part of the noise of a round is subtracted
    again over the next `bands` rounds; `horizon` is the number of rounds for
    which this is optimised (`banded_noise`). The rest is as in `dp_fedavg`.

    >>> from hedgerow.strategies import cyclic
    >>> dp_ftrl(0.3, 2.0, bands=4, sampling=cyclic(20, population=100)).pipeline.name
    'chain(clip(0.3), banded_noise(2.0, 4, 100))'
    """
    checks.positive(clip_norm=clip_norm, noise_multiplier=noise_multiplier)
    checks.whole(1, bands=bands, horizon=horizon)
    steps, budget = (
        (clip(clip_norm), banded_noise(noise_multiplier, bands, horizon)),
        Budget(delta, epsilon, adjacency),
    )
    sampled: Parts = {"sampling": cyclic(10, population=100), **parts}
    return _private("dp_ftrl", steps, budget, _step(server_learning_rate, server_momentum), sampled)


@private(cyclic)
@checks.arguments
@described
def secure_dp_fedavg(
    clip_norm: float = 0.5, noise_multiplier: float = 4.0, delta: float = 1e-5, epsilon: float | None = None,
    bits: int = 16, value_range: float | None = None, noise: str = "gaussian",
    corrupt: float = 0.2, dropout: float = 0.2, min_clients: int = 10,
    server_learning_rate: float = 1.0, server_momentum: float = 0.0, adjacency: str = "zero_out",
    **parts: Unpack[Parts],
) -> Strategy:  # fmt: skip
    """FedAvg whose clients add the noise, under a mask: arXiv:2102.06387, algorithm 1.

    The server sees no sum with less noise than the ledger counts. Cohorts take
    turns (`cyclic`), because the server knows who takes part. The noise comes
    from those clients of an expected cohort that are neither `corrupt` nor
    `dropout`: no client unmasks a sum with fewer honest ones. `noise` is
    `"gaussian"` (`distributed_noise`) or `"skellam"` (`skellam_noise`). Clients
    send integers of `bits` bits, in cohorts of up to 1.25 times the expected
    size. Values are limited to `value_range`, by default a quarter of the clip
    norm.

    `epsilon` is for replacing a client's update by zero: the client stays in the
    cohort and adds its noise. With `adjacency="replace"` it is for replacing its
    data by any other, which changes a sum twice as much: for 5 sums with noise
    multiplier 2.3, at delta 1e-4, epsilon is 8.57 instead of 3.68.

    >>> from hedgerow.strategies import cyclic
    >>> strategy = secure_dp_fedavg(1.0, 2.0, sampling=cyclic(50, population=100))
    >>> strategy.pipeline.name.partition(", distributed")[0], strategy.pipeline.protection.noise.min_honest
    ('chain(clip(1.0), randomized_round(0.001953125, 1.0, range=0.25)', 30)
    """
    checks.positive(clip_norm=clip_norm, noise_multiplier=noise_multiplier)
    if value_range is not None:
        checks.positive(value_range=value_range)
    checks.whole(8, 32, bits=bits)
    checks.one_of(("gaussian", "skellam"), noise=noise)
    secure = SecureAggregation(corrupt, dropout, min_clients)
    if (given := pipeline_of(parts)).kinds:
        raise ValueError(f"pipeline is {given.name}; leave it out and choose bits: the preset sets its own")
    sampling = parts.get("sampling", cyclic(5 * min_clients, population=50 * min_clients))
    checks.kind(Sampling, ", such as cyclic(50, population=500)", sampling=sampling)
    expected = int(sampling.expected or min_clients)
    if expected < min_clients:
        raise ValueError(
            f"a cohort has {expected} clients, and clients refuse cohorts of fewer than {min_clients}"
            " (min_clients): ask more clients, or lower min_clients"
        )
    min_honest = secure.honest(expected)
    reach = clip_norm / 4 if value_range is None else value_range
    most = math.ceil(1.25 * expected)
    # A larger cohort still fits, into the widest ring.
    fitting = ((bits, most), (MOST_BITS, sampling.most_clients or most))
    unit = max(
        unit_for(clip_norm, noise_multiplier, min_honest, width, clients=clients, range=reach)
        for width, clients in fitting
    )
    steps = (
        clip(clip_norm),
        randomized_round(unit, clip_norm, reach),
        (skellam_noise if noise == "skellam" else distributed_noise)(
            noise_multiplier, clip_norm, unit, min_honest, 16 if bits <= 16 else 32
        ),
        mask(corrupt, dropout, min_clients),
    )
    update = _step(server_learning_rate, server_momentum)
    return _private(
        "secure_dp_fedavg", steps, Budget(delta, epsilon, adjacency), update, {**parts, "sampling": sampling}
    )


def _private(
    name: str, steps: tuple[Transform, ...], budget: Budget, update: server_update.ServerUpdate, parts: Parts
) -> Strategy:
    if weighted_of(parts, False):
        raise ValueError("weighted is True: a weight scales a clipped update past its bound; leave it out")
    compressed = pipeline_of(parts)
    pipeline = chain(*steps, *([compressed] if compressed.kinds else []))
    return assemble(name, update, {**parts, "pipeline": pipeline, "weighted": False}, budget=budget)


def _step(learning_rate: float, momentum: float) -> server_update.ServerUpdate:
    _check_server(learning_rate, momentum)
    return server_update.momentum(learning_rate, momentum) if momentum else server_update.sgd(learning_rate)


def _check_server(learning_rate: float, momentum: float) -> None:
    checks.positive(server_learning_rate=learning_rate)
    checks.probability(server_momentum=momentum)
