"""Private rounds: they release only a noisy sum, which is recorded before it is released."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast, final

import numpy as np
from numpy.typing import NDArray

from hedgerow import rng
from hedgerow.privacy.events import Event
from hedgerow.privacy.ledger import Ledger, LedgerError
from hedgerow.server.collector import Collector
from hedgerow.server.counting import MakeContext
from hedgerow.server.round_kind import Cohort, Counted, Replies, RoundKind
from hedgerow.server.step import Aggregated
from hedgerow.strategies.aggregates.mean import FixedPointMean
from hedgerow.strategies.pipeline.coding import decode
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.streams import Totals
from hedgerow.strategies.transforms.mask import shape_of
from hedgerow.types import Layout, Payload, RoundContext, ServerState, Vector
from hedgerow.types.recording import Recording

_RELEASES = "releases"

RELEASED = "released"
"""Name of the released noisy mean in a recording."""


@final
@dataclass(frozen=True)
class Bounded:
    """Each payload is decoded, and clipped here too: the contribution that a `NoisyAggregation` allows."""

    norm: float
    # A mean of the clients' metrics would be a release without noise.
    shows_metrics: bool = False

    def size(self, strategy: Strategy, layout: Layout) -> int:
        """Number of values: those of the delta, and those that the release adds."""
        return layout.dimension + strategy.release.extra

    def fitting(self, strategy: Strategy, clients: int) -> int:
        """At least the largest expected cohort: depending on the actual one would reveal its size."""
        return max(clients, strategy.release.most_clients)

    def values(self, strategy: Strategy, layout: Layout, payload: Payload, context: MakeContext) -> Vector:
        """The client's bounded contribution."""
        return strategy.release.contribution(decode(strategy.pipeline, payload, context()), self.norm)

    def delta(self, strategy: Strategy, aggregate: Vector, context: RoundContext) -> Vector:
        """The aggregate without the values that the release adds."""
        return aggregate[: context.layout.dimension]


@final
@dataclass(frozen=True)
class StartBounded:
    """Makes collectors of bounded contributions: `start(round, clients, norm)`."""

    strategy: Strategy
    layout: Layout
    seed: int

    def __call__(self, round: int, clients: int, *bounds: Any) -> "BoundedCollector":
        """A collector for one round of a cohort of `clients` clients; `norm` bounds each."""
        return BoundedCollector(Collector(self, round, clients, Bounded(*bounds)))


@final
class BoundedCollector:
    """A collector of bounded contributions that also gives their sum."""

    def __init__(self, inner: Collector) -> None:
        self.collected, self.add = inner.collected, inner.add
        self.result, self.streams, self.recorded = inner.result, inner.streams, inner.recorded
        self.bounding = inner.bounding

    def total(self) -> NDArray[np.int64]:
        """The sum of what was added, `(n,) int64` in multiples of 2**-36, clipped to 2**26 in absolute value.

        Clipping never increases the distance between two sums.
        """
        return cast(FixedPointMean, self.collected.deltas).fixed


class Sums(Protocol):
    """A collector that gives its sum."""

    def total(self) -> NDArray[np.int64]:
        """The sum of what was added, `(n,) int64` in multiples of 2**-36."""


class Gathers(RoundKind, Protocol):
    """A kind of round whose outcome includes a sum."""

    def close(self) -> Counted:
        """Send the requests of `open`, and collect the replies."""


@final
@dataclass(frozen=True)
class PrivateRounds:
    """A `RoundKind` that wraps another one and adds noise to its sums.

    Attributes:
        inner: computes the sum: plain, with bounded contributions, or masked.
        strategy: a private one.
        seed: of the run.
        ledger: records what is released.
        seeded: the seed determines noise and cohorts, so that a simulation can be
            repeated. Whoever knows the seed can then remove the noise.
    """

    inner: Gathers
    strategy: Strategy
    seed: int
    ledger: Ledger
    seeded: bool

    @property
    def secure(self) -> str:
        """How the inner kind of round computes its sum."""
        return self.inner.secure

    @property
    def epsilon(self) -> float | None:
        """The epsilon of everything that the run has released so far."""
        return self.ledger.epsilon

    @property
    def shows_replies(self) -> bool:
        """False: whether a run stops because of the clients' replies would reveal who took part."""
        return False

    @property
    def sampling_seed(self) -> int:
        """Determines the next cohort; if a real run draws it at random, nobody can guess it."""
        fixed = self.seeded or self.strategy.sampling.groups is not None
        return self.seed if fixed else rng.secret_seed()

    def exhausted(self, state: ServerState) -> str:
        """Why the run stops before its next round, or an empty string."""
        if self.ledger.allows(event(self.strategy, state)):
            return ""
        return f"one more round would pass the privacy budget, epsilon {self.ledger.budget.epsilon:g}"

    def announced(self, round: int) -> tuple[str, ...] | None:
        """The cohort that the inner kind has announced for this round; `None` if it has not."""
        return self.inner.announced(round)

    def open(self, state: ServerState, cohort: Cohort) -> None:
        """Open the inner round."""
        self.inner.open(state, cohort)

    def close(self) -> "Released":
        """The outcome of the inner round, to which noise is to be added."""
        return Released(self, self.inner.close())


@final
@dataclass(frozen=True)
class Released:
    """The outcome of a private round: of the replies, it reveals only a noisy sum."""

    rounds: PrivateRounds
    inner: Counted

    @property
    def replies(self) -> Replies:
        """Which clients count and which do not, and the bytes."""
        return self.inner.replies

    def bytes_down(self) -> dict[str, int]:
        """Bytes sent to each client."""
        return self.inner.bytes_down()

    def aggregated(self, state: ServerState) -> Aggregated:
        """The noisy sum, which is in the ledger before it is returned."""
        asked, number, strategy = self.inner.cohort, state.round + 1, self.rounds.strategy
        found = Aggregated(tuple(asked.nodes), lost=frozenset(self.replies.dropped))
        if failed := self._failed():
            return replace(found, failed=failed)
        seeded, seed = self.rounds.seeded, self.rounds.seed
        source = rng.seeded_source(seed, "noise", round=number) if seeded else rng.system_source
        try:
            released = strategy.release(cast(Sums, self.inner.collector).total(), state.private, source)
        except ValueError as error:  # such as an adaptive norm that has grown too large
            return replace(found, failed=f"{error}; nothing is released")
        noise = "seeded: a simulation" if seeded else "system"
        try:
            self.rounds.ledger.record(number, event(strategy, state), released.digest, noise=noise)
        except OSError as error:
            failed = f"the ledger cannot be written ({error}), so that nothing is released"
            return replace(found, failed=failed)
        private = {**released.state, _RELEASES: state.private[_RELEASES] + 1}
        totals = Totals(self.replies.counted, asked.clients)
        return replace(found, delta=released.delta, totals=totals, private=private)

    def recorded(self, round: int, found: Aggregated) -> Recording:
        """The released sum, never the sum before the noise."""
        released = {} if found.delta is None else {RELEASED: found.delta}
        replies, cohort = self.replies, self.inner.cohort
        return Recording(
            round, tuple(cohort.nodes), cohort.clients, replies.counted,
            dict(replies.dropped), found.failed, arrays=released,
        )  # fmt: skip

    def _failed(self) -> str:
        if self.inner.cohort.clients == 0:
            return "no client is connected"
        if self.replies.failed:
            return self.replies.failed
        min_honest, counted = self.rounds.strategy.release.noise.min_honest, self.replies.counted
        if counted < min_honest:
            return f"{counted} clients count, and the noise of {min_honest} makes a sum private"
        return ""


def event(strategy: Strategy, state: ServerState) -> Event:
    """The ledger's event for the next round."""
    n = strategy.pipeline.length(len(state.model.parameters))
    return strategy.release.noise.event(strategy.sampling, state.round + 1, n)


def clip_norm(strategy: Strategy, state: ServerState) -> float:
    """The next round's bound on a client's delta."""
    return strategy.release.norm(state.private)


def check(strategy: Strategy, layout: Layout, state: ServerState, ledger: Ledger) -> None:
    """Refuse to start if the ledger would be wrong.

    Raises:
        ValueError: the model has values that would be averaged without noise, or no ring holds the
            sum of the largest expected cohort.
        LedgerError: the ledger holds fewer releases than the state.
    """
    if layout.buffer_size:
        raise ValueError(
            f"the model has {layout.buffer_size} values that are not trained but averaged, in"
            f" {layout.buffers[0].name!r}; that would be without noise: use GroupNorm in place of"
            " BatchNorm, or, if training does not change it,"
            f" `Task(..., constants=[{layout.buffers[0].name!r}])`"
        )
    release, pipeline = strategy.release, strategy.pipeline
    release.sigma(clip_norm(strategy, state), len(state.model.parameters) + release.extra)
    if pipeline.sum_only:
        shape_of(pipeline, layout, release.most_clients)  # every possible cohort has a ring
    released = int(state.private[_RELEASES][0])
    if ledger.releases < released:
        raise LedgerError(
            f"the ledger holds {ledger.releases} releases, and {released} were made: privacy.jsonl"
            " was changed or removed. Restore it from a copy, or start a new run"
        )


def begin_private(strategy: Strategy, dimension: int) -> Mapping[str, Any]:
    """The private part of the server's state before the first round; empty if nothing is private."""
    if not strategy.private:
        return {}
    return {**strategy.release.init(dimension), _RELEASES: np.zeros(1, np.int64)}
