"""The one thing that leaves a private round: a noised sum.

A clip and a noise in the pipeline have a half that runs on the server. It
bounds what each client adds to the sum, adds noise to the sum once, and says
to the ledger what it has done. All other steps of the pipeline, and the
server's update, see either one client's values or the noised sum.
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
"""Sums are whole multiples of this."""


@dataclass(frozen=True)
class ServerClip:
    """The server's half of a clip.

    Attributes:
        norm: of a round, from the server's state: the l2 bound of a client's
            delta.
        init: the state before the first round.
        share: fraction of the squared sensitivity that each client's answer to "is
            your delta within the norm?" takes; 0 where it is not asked.
        update: `(state, noised fraction of clients within the norm) -> state`.
    """

    norm: Callable[[Arrays], float]
    init: Callable[[], Arrays] = dict
    share: float = 0.0
    update: Callable[[Arrays, float], Arrays] = lambda state, within: state


@dataclass(frozen=True)
class Noise:
    """The server's half of a noise.

    Attributes:
        multiplier: standard deviation, divided by the l2 sensitivity of the
            sum; of all the sums that one participation shows in, where the
            noise of rounds is correlated.
        bands: first column of the matrix that correlates them, from 1 on (see
            `hedgerow.privacy.bands`).
        min_honest: where clients have added it already, the clients whose parts
            make all of it; 0 where the server adds it.
        skellam: where it is no Gaussian: what a sum of `n` values is to the
            ledger; `None` for what costs no less than any number of them.
    """

    multiplier: float
    bands: tuple[float, ...] = (1.0,)
    min_honest: int = 0
    skellam: Callable[[int | None], Skellam] | None = None

    def event(self, sampling: Sampling, round: int, n: int | None) -> Event:
        """What one round is to the ledger, with noise on `n` values; `None`: of any number, at most."""
        gaussian = Gaussian(self.multiplier)
        if sampling.groups is not None:
            return Cyclic(self.skellam(n) if self.skellam else gaussian, sampling.groups, round)
        return gaussian if sampling.rate == 1 else PoissonSampled(float(sampling.rate or 0), gaussian)

    def init(self, n: int) -> Arrays:
        """The state before the first round: the noise of earlier ones, `(bands - 1, n) int64`."""
        return {"noise": np.zeros((len(self.bands) - 1, n), np.int64)} if len(self.bands) > 1 else {}

    def sigma(self, sensitivity: float, n: int) -> int:
        """Standard deviation of what is drawn for `n` values, in units.

        Rounding a contribution to whole units may lengthen it by half a unit a
        value. Where bands are taken off, each round's rounding of them may
        differ by a unit a value more. Both are covered, and so are the last
        digits of a norm.
        """
        length = math.sqrt(math.fsum(band**2 for band in self.bands))
        rounded = math.sqrt(n) * (1 + math.sqrt(len(self.bands)) * (len(self.bands) > 1))
        units = length * (sensitivity * (1 + 1e-9) / UNIT + rounded)
        return math.ceil(self.multiplier * units)

    def draw(
        self, sigma: int, n: int, state: Arrays, source: RandomSource
    ) -> tuple[NDArray[np.int64], Arrays]:
        """The noise of a round, `(n,) int64` in units, and the state with it.

        With `z` whole and exactly Gaussian, and `e` the noise of the rounds
        before, it is `z - round(sum_j bands[j] e[j])`: `C^-1 z`, but for the
        rounding. Given what was released before, the rounded part is a whole
        number that the deltas decide, so that a release is a sum of whole
        numbers with exact noise, as without bands.
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
    """A noised sum, and all that may be derived from it.

    Attributes:
        delta: `(d,) float32`: the noised sum over the expected cohort.
        state: the server's private state after the round.
        digest: 32 hex digits that two releases share only if they are equal, bit for bit.
    """

    delta: Vector
    state: Arrays = field(repr=False)
    digest: str


@dataclass(frozen=True)
class NoisyAggregation:
    """Makes a cohort's deltas into a noised sum.

    Attributes:
        server_clip: what a client may add.
        noise: what is added to the sum.
        expected: clients in a cohort, on average. The sum is divided by it:
            dividing by the clients that were there would tell their number.
        most_clients: what no cohort is expected to exceed. What a client may
            add follows from it: following the cohort that is there, one more
            client would change what the others may say.
    """

    server_clip: ServerClip
    noise: Noise
    expected: float
    most_clients: int

    @property
    def extra(self) -> int:
        """Values of a contribution beside the delta's."""
        return 1 if self.server_clip.share else 0

    @property
    def largest_norm(self) -> float:
        """The largest norm for which the sum of `most_clients` deltas fits; it depends on no cohort."""
        return LARGEST_SUM / self.most_clients * math.sqrt(1 - self.server_clip.share)

    def norm(self, state: Arrays) -> float:
        """A round's l2 bound of a client's delta; an adaptive one stops at `largest_norm`."""
        return min(self.server_clip.norm(state), self.largest_norm)

    def refuse_overflow(self) -> None:
        """Raise `ValueError`, with a remedy, where a sum of clipped deltas might not fit."""
        norm = self.server_clip.norm(self.server_clip.init())
        if norm > self.largest_norm:
            raise ValueError(
                f"the clip norm is {norm:g}; at most {self.largest_norm:.6g} is allowed where a cohort may"
                f" have {self.most_clients:,} clients, so that their sum stays within {LARGEST_SUM:,.0f}:"
                " take a smaller clip norm, or ask fewer clients"
            )

    def contribution(self, delta: Vector, norm: float) -> Vector:
        """What a client adds to the sum, `(d + extra,) float32`, of l2 norm at most `sensitivity(norm)`.

        A delta is clipped here too where the client has done so: what was
        compressed after the clip may be longer, and a client may lie.
        """
        if self.noise.min_honest:  # noise is on it already, and would be clipped off
            return delta
        bounded = clipped(delta, norm)
        if not self.extra:
            return bounded
        half = np.float32(self._half_answer(norm))
        within = half if l2_norm(delta) <= norm else -half
        return np.concatenate([bounded, [within]], dtype=np.float32)

    def sensitivity(self, norm: float) -> float:
        """The most by which one client can change the sum (l2), before it is rounded to whole units."""
        return math.hypot(norm, float(np.float32(self._half_answer(norm))))

    def sigma(self, norm: float, n: int) -> int:
        """Standard deviation of the noise that is drawn for `n` values, in units.

        Raises:
            ValueError: it would not fit beside the sum; with a remedy.
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
            ValueError: the noise would not fit beside the sum; with a remedy.
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
        """ "Yes" adds this to the sum and "no" takes it off; its square is its part of the whole."""
        share = self.server_clip.share
        return norm * math.sqrt(share / (1 - share))
