"""The only thing that a private round releases: a noisy sum.

The clip and noise steps of a pipeline have a server side. It bounds what each
client adds to the sum, adds noise to the sum once, and reports the event to the
ledger. All other steps of the pipeline, and the server's update, see either one
client's values or the noisy sum.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hedgerow.privacy.discrete_gaussian import LARGEST_SIGMA, discrete_gaussian
from hedgerow.privacy.events import Cyclic, Event, Gaussian, PoissonSampled, Skellam
from hedgerow.rng import RandomSource
from hedgerow.strategies.aggregates.mean import LARGEST_SUM, SUM_FRACTION_BITS
from hedgerow.strategies.norms import clipped, l2_norm
from hedgerow.strategies.sampling import Sampling
from hedgerow.types import Arrays, Vector

UNIT = 2.0**-SUM_FRACTION_BITS
"""Sums are integer multiples of this."""


@dataclass(frozen=True)
class ServerClip:
    """The server side of a clip.

    Attributes:
        norm: `state -> norm`: the l2 bound of a client's delta in a round.
        init: the state before the first round.
        share: fraction of the squared sensitivity that is spent on each client's
            answer to "is your delta within the norm?"; 0 if it is not asked.
        update: `(state, noisy fraction of clients within the norm) -> state`.
    """

    norm: Callable[[Arrays], float]
    init: Callable[[], Arrays] = dict
    share: float = 0.0
    update: Callable[[Arrays, float], Arrays] = lambda state, within: state


@dataclass(frozen=True)
class Noise:
    """The server side of a noise step.

    Attributes:
        multiplier: standard deviation, divided by the l2 sensitivity of the sum;
            if the noise of rounds is correlated, of all sums together that one
            participation affects.
        bands: first column of the correlation matrix, starting with 1 (see
            `hedgerow.privacy.bands`).
        min_honest: if clients add the noise, the number of clients whose shares
            make up all of it; 0 if the server adds it.
        skellam: for Skellam noise, the event of a sum of `n` values; with `None`,
            an event that costs at least as much as for any number of values.
    """

    multiplier: float
    bands: tuple[float, ...] = (1.0,)
    min_honest: int = 0
    skellam: Callable[[int | None], Skellam] | None = None

    def event(self, sampling: Sampling, round: int, n: int | None) -> Event:
        """The event of one round with noise on `n` values; with `None`, an upper bound for any number."""
        gaussian = Gaussian(self.multiplier)
        if sampling.groups is not None:
            return Cyclic(self.skellam(n) if self.skellam else gaussian, sampling.groups, round)
        return gaussian if sampling.rate == 1 else PoissonSampled(float(sampling.rate or 0), gaussian)

    def init(self, n: int) -> Arrays:
        """The state before the first round: the noise of earlier rounds, `(bands - 1, n) int64`."""
        return {"noise": np.zeros((len(self.bands) - 1, n), np.int64)} if len(self.bands) > 1 else {}

    def sigma(self, sensitivity: float, n: int) -> int:
        """Standard deviation of the noise drawn for `n` values, in units.

        Rounding a contribution to whole units may add half a unit per value to
        its norm. If earlier noise is subtracted, rounding that may add another
        unit per value in each round. Both are covered, as is the rounding error
        of a norm.
        """
        length = math.sqrt(math.fsum(band**2 for band in self.bands))
        rounded = math.sqrt(n) * (1 + math.sqrt(len(self.bands)) * (len(self.bands) > 1))
        units = length * (sensitivity * (1 + 1e-9) / UNIT + rounded)
        return math.ceil(self.multiplier * units)

    def draw(
        self, sigma: int, n: int, state: Arrays, source: RandomSource
    ) -> tuple[NDArray[np.int64], Arrays]:
        """The noise of a round, `(n,) int64` in units, and the state that includes it.

        With `z` an exact discrete Gaussian, and `e` the noise of earlier rounds, it
        is `z - round(sum_j bands[j] e[j])`: `C^-1 z` up to rounding. Given earlier
        releases, the rounded part is an integer determined by the deltas, so a
        release is a sum of integers with exact noise, as without bands.
        """
        if self.min_honest:
            return np.zeros(n, np.int64), {}
        drawn = discrete_gaussian(sigma, n, source)
        if len(self.bands) == 1:
            return drawn, {}
        past = state["noise"]
        taken_off = np.zeros(n)
        for band, earlier in zip(self.bands[1:], past, strict=True):
            taken_off += band * earlier
        noise = drawn - np.rint(taken_off).astype(np.int64)
        return noise, {"noise": np.concatenate([noise[None], past[:-1]])}


@dataclass(frozen=True)
class NoisyAggregate:
    """A noisy sum, and everything that is derived from it.

    Attributes:
        delta: `(d,) float32`: the noisy sum, divided by the expected cohort size.
        state: the server's private state after the round.
        digest: 32 hex digits, equal for two releases only if they are equal bit for bit.
    """

    delta: Vector
    state: Arrays = field(repr=False)
    digest: str


@dataclass(frozen=True)
class NoisyAggregation:
    """Turns a cohort's deltas into a noisy sum.

    Attributes:
        server_clip: bounds what a client may add.
        noise: the noise that is added to the sum.
        expected: expected size of a cohort. The sum is divided by it: dividing
            by the actual size would reveal that size.
        most_clients: a size that no cohort is expected to exceed. It limits what
            a client may add: if the actual cohort did, one more client would
            change what the others may add.
    """

    server_clip: ServerClip
    noise: Noise
    expected: float
    most_clients: int

    @property
    def extra(self) -> int:
        """Number of values in a contribution in addition to the delta."""
        return 1 if self.server_clip.share else 0

    @property
    def largest_norm(self) -> float:
        """The largest norm for which the sum of `most_clients` deltas fits, whatever the actual cohort."""
        return LARGEST_SUM / self.most_clients * math.sqrt(1 - self.server_clip.share)

    def norm(self, state: Arrays) -> float:
        """A round's l2 bound on a client's delta; an adaptive one never exceeds `largest_norm`."""
        return min(self.server_clip.norm(state), self.largest_norm)

    def refuse_overflow(self) -> None:
        """Raise `ValueError`, with a remedy, if a sum of clipped deltas might not fit."""
        norm = self.server_clip.norm(self.server_clip.init())
        if norm > self.largest_norm:
            raise ValueError(
                f"the clip norm is {norm:g}; at most {self.largest_norm:.6g} is allowed where a cohort may"
                f" have {self.most_clients:,} clients, so that their sum stays within {LARGEST_SUM:,.0f}:"
                " take a smaller clip norm, or ask fewer clients"
            )

    def contribution(self, delta: Vector, norm: float) -> Vector:
        """What a client adds to the sum, `(d + extra,) float32`, of l2 norm at most `sensitivity(norm)`.

        A delta is clipped here even if the client has clipped it: compressing it
        afterwards may have increased its norm, and a client may lie.
        """
        if self.noise.min_honest:  # it includes noise already, which a clip would distort
            return delta
        bounded = clipped(delta, norm)
        if not self.extra:
            return bounded
        half = np.float32(self._half_answer(norm))
        within = half if l2_norm(delta) <= norm else -half
        return np.concatenate([bounded, [within]], dtype=np.float32)

    def sensitivity(self, norm: float) -> float:
        """The largest l2 change that one client can make to the sum, before rounding to whole units."""
        return math.hypot(norm, float(np.float32(self._half_answer(norm))))

    def sigma(self, norm: float, n: int) -> int:
        """Standard deviation of the noise drawn for `n` values, in units.

        Raises:
            ValueError: sum and noise together might overflow; with a remedy.
        """
        sigma = self.noise.sigma(self.sensitivity(norm), n)
        if sigma > LARGEST_SIGMA:
            raise ValueError(
                f"the noise has a standard deviation of {sigma * UNIT:.3g}; at most {LARGEST_SIGMA * UNIT:g}"
                " is allowed: take a smaller clip norm or noise multiplier"
            )
        return sigma

    def init(self, d: int) -> Arrays:
        """The private state before the first round of a model of `d` values."""
        return {**self.server_clip.init(), **self.noise.init(d + self.extra)}

    def __call__(self, total: NDArray[np.int64], state: Arrays, source: RandomSource) -> NoisyAggregate:
        """Release the sum of a round's contributions, `(d + extra,) int64`, in units.

        Raises:
            ValueError: sum and noise together might overflow; with a remedy.
        """
        norm = self.norm(state)
        sigma = self.sigma(norm, len(total))
        noise, kept = self.noise.draw(sigma, len(total), state, source)
        noised, state = total + noise, {**state, **kept}
        digest = hashlib.blake2b(noised.tobytes(), digest_size=16).hexdigest()
        mean = noised * (UNIT / self.expected)
        if self.extra:
            half = float(np.float32(self._half_answer(norm)))
            within = min(1.0, max(0.0, 0.5 + 0.5 * float(mean[-1]) / half))
            state = self.server_clip.update(state, within)
        return NoisyAggregate(mean[: len(mean) - self.extra].astype(np.float32), state, digest)

    def _half_answer(self, norm: float) -> float:
        """A "yes" adds this to the sum and a "no" subtracts it; it has `share` of the squared sensitivity."""
        share = self.server_clip.share
        return norm * math.sqrt(share / (1 - share))
