"""DP-SGD steps: samples drawn at random, clipped gradients, noise in each sum (arXiv:1607.00133)."""

import hashlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hedgerow.client.torch.explained import OF_USERS, explained
from hedgerow.client.torch.samples import CLIP_UNITS
from hedgerow.privacy.discrete_gaussian import discrete_gaussian
from hedgerow.rng import RandomSource, integer_seed, secret_seed, seeded_source, system_source
from hedgerow.types import LocalTraining, Samples

log = logging.getLogger("hedgerow")


class ExactSums(Protocol):
    """Adds clipped gradients of samples, so that one more moves the sum by at most `CLIP_UNITS` units."""

    def fixed_sum(self, x: Tensor, y: Tensor, largest: float, seed: Callable[[int], int]) -> Tensor:
        """See `hedgerow.client.torch.samples`."""
        ...


@dataclass(frozen=True)
class Chance:
    """The sources of randomness of one fit.

    Attributes:
        batch: decides which samples are in a step.
        noise: of what is added to their sum.
        model: `(step, sample) -> seed` of what the model draws for a sample (given as
            bytes), such as dropout. It depends neither on other samples nor on
            positions, so that one more sample shifts nothing.
    """

    batch: RandomSource
    noise: RandomSource
    model: Callable[[int, bytes], int]


def chance(seeded: bool, *, seed: int, round: int, client: str) -> Chance:
    """The operating system's generator, or in a simulation sources derived from the run's seed."""
    if not seeded:
        return Chance(system_source, system_source, lambda step, sample: secret_seed())
    where: Any = {"round": round, "client": client}

    def of_sample(step: int, sample: bytes) -> int:
        name = hashlib.blake2b(sample, digest_size=16).hexdigest()
        return integer_seed(seed, f"step {step} of sample {name}", **where)

    return Chance(
        seeded_source(seed, "batches of samples", **where),
        seeded_source(seed, "noise of samples", **where),
        of_sample,
    )


def poisson_batch(n: int, rate: float, source: RandomSource) -> NDArray[np.int64]:
    """The samples of a step: each of `n` independently with probability `rate`; possibly none.

    >>> poisson_batch(10, 0.3, seeded_source(0, "example")).tolist()
    [1, 2]
    """
    drawn = source(n)
    if rate == 1:
        return np.arange(n)
    return np.flatnonzero(drawn < np.uint64(math.floor(rate * 2**64)))


def private_gradients(
    fixed_sum: Callable[[NDArray[np.int64]], NDArray[np.int64]],
    samples: int,
    parameters: list[Tensor],
    local: LocalTraining,
    chance: Chance,
) -> list[Tensor]:
    """The gradient of one step: the drawn samples' noisy sum, divided by the expected batch size.

    Sum and noise are multiples of one unit. So no gaps between floating-point
    numbers give the sum away (Mironov 2012), and the noise is exactly the discrete
    Gaussian (arXiv:2004.00010).

    Args:
        fixed_sum: of the samples at these positions, `(d,)` in units of `clip_samples / CLIP_UNITS`.
        samples: their number.
        parameters: have the gradients' shapes.
        local: how to train.
        chance: where randomness comes from.
    """
    index = poisson_batch(samples, local.sample_rate, chance.batch)
    dimension = sum(p.numel() for p in parameters)
    total = fixed_sum(index) if len(index) else np.zeros(dimension, np.int64)
    total = total + discrete_gaussian(math.ceil(local.sample_noise * CLIP_UNITS), dimension, chance.noise)
    vector = (total * (local.clip_samples / CLIP_UNITS / local.batch_size)).astype(np.float32)
    placed = torch.from_numpy(vector).to(parameters[0].device)
    parts = torch.split(placed, [p.numel() for p in parameters])
    return [part.view(p.shape) for part, p in zip(parts, parameters, strict=True)]


def private_step(
    sums: ExactSums,
    take: Callable[[NDArray[np.int64]], tuple[Tensor, Tensor]],
    data: Samples,
    parameters: list[Tensor],
    local: LocalTraining,
    chance: Chance,
    number: int,
    who: str,
) -> list[Tensor]:
    """The gradient of one step on a client's samples.

    Args:
        sums: computes the sums for the model.
        take: returns the samples and targets at these positions, as tensors for the model.
        data: all samples of the client.
        parameters: have the gradients' shapes.
        local: how to train.
        chance: where randomness comes from.
        number: of the step.
        who: the client, for the error.

    Raises:
        ValueError: the model fails; the error names the client, and reveals nothing of the samples.
    """

    def fixed_sum(index: NDArray[np.int64]) -> NDArray[np.int64]:
        x, y = take(index)

        def seed(k: int) -> int:
            place = int(index[k])
            return chance.model(number, data.x[place].tobytes() + data.y[place].tobytes())

        try:
            found: NDArray[np.int64] = sums.fixed_sum(x, y, local.clip_samples, seed).cpu().numpy()
            return found
        except OF_USERS as error:
            log.error("%s", explained(error, who, x, y))
            raise ValueError(
                f"{who}: a step with sample_noise failed; why is in this client's own log,"
                " because it may tell of a sample"
            ) from None

    return private_gradients(fixed_sum, len(data), parameters, local, chance)
