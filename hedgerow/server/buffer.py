"""The buffer of an asynchronous run: replies to different models, until the server makes a step."""

from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np

from hedgerow.server.collected import Collected
from hedgerow.server.collector import Collector
from hedgerow.server.counting import Each, MakeContext
from hedgerow.server.norm_bound import NormBound
from hedgerow.server.recording import KeepingCollector, StartKeeping
from hedgerow.server.round_kind import Cohort, Counted
from hedgerow.server.step import Aggregated
from hedgerow.strategies.arrivals import Arrivals
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Layout, Payload, PayloadError, RoundContext, ServerState, Vector
from hedgerow.types.recording import Recording


@final
@dataclass(frozen=True)
class Arrived:
    """What is added of a reply of some staleness: its scaled delta, or its model minus that of now.

    Attributes:
        arrivals: of the strategy.
        staleness: the server's steps since the model that was sent.
        moved: the model that was sent, minus that of now; only if models are added.
    """

    arrivals: Arrivals
    staleness: int
    moved: Vector | None
    shows_metrics: bool = field(default=True, init=False)

    def size(self, strategy: Strategy, layout: Layout) -> int:
        """The number of values that the model has."""
        return layout.dimension

    def fitting(self, strategy: Strategy, clients: int) -> int:
        """The buffer."""
        return clients

    def values(self, strategy: Strategy, layout: Layout, payload: Payload, context: MakeContext) -> Vector:
        """What the client adds; raises `PayloadError` if its payload is not valid, or too stale."""
        if self.staleness > self.arrivals.most:
            raise PayloadError(
                f"it is stale: the server has made {self.staleness} steps since the model that it was sent;"
                f" at most {self.arrivals.most} are allowed"
            )
        told = replace(context(), staleness=self.staleness)
        delta = Each().values(strategy, layout, payload, lambda: told)
        if self.moved is not None:
            delta = delta + self.moved
        return np.float32(self.arrivals.staleness.weight(self.staleness)) * delta

    def delta(self, strategy: Strategy, aggregate: Vector, context: RoundContext) -> Vector:
        """The aggregate is the delta."""
        return aggregate


@final
class Buffer:
    """Replies until the next step.

    Args:
        start: of the run.
        state: of the server, before the step.
        keep: whether replies that count are kept for recording.
    """

    def __init__(self, start: StartKeeping, state: ServerState, *, keep: bool) -> None:
        self._start, self._state, self._keep = start, state, keep
        self._main = self._collector(state.round, None)
        self._collectors = {state.round: self._main}
        self.collected: Collected = self._main.collected
        self.versions: dict[str, int] = {}
        self.bytes_down: dict[str, int] = {}

    @property
    def size(self) -> int:
        """Replies that make a step."""
        arrivals = self._start.strategy.arrivals
        assert arrivals is not None
        return arrivals.buffer

    @property
    def staleness(self) -> dict[str, int]:
        """Of each client that counts."""
        dropped = self.collected.dropped
        return {c: self._state.round - v for c, v in sorted(self.versions.items()) if c not in dropped}

    def add(self, client: str, version: int, reply: Any, down: int = 0) -> None:
        """Add a client's reply to the model of some version, or drop the client by name.

        Args:
            client: its name.
            version: the round that made the model that it was sent.
            reply: `None` if there is none.
            down: bytes that it was sent.
        """
        self.versions[client], self.bytes_down[client] = version, down
        if version not in self._collectors:
            self._collectors[version] = self._collector(version, self.collected)
        self._collectors[version].add(client, reply)

    def aggregated(self, clients: int) -> Aggregated:
        """The aggregate of what counts; `clients` is the number of those available."""
        return self._counted(clients).aggregated(self._state)

    def recorded(self, clients: int, found: Aggregated) -> Recording:
        """The recording of the step, whose aggregate is `found`."""
        recording = self._counted(clients).recorded(self._state.round + 1, found)
        return replace(recording, versions=self.versions)

    def _counted(self, clients: int) -> Counted:
        cohort = Cohort(dict.fromkeys(sorted(self.versions), 0), clients, enough=1)
        return Counted(self._start.strategy, cohort, self._main)

    def _collector(self, version: int, shared: Collected | None) -> Any:
        """The collector of replies to one version; all of them add to one sum."""
        start, strategy = self._start.inner, self._start.strategy
        arrivals = strategy.arrivals
        assert arrivals is not None
        moved = None
        if arrivals.models:
            moved = self._sent(version) - self._state.model.parameters
        counting = Arrived(arrivals, self._state.round - version, moved)
        bound = NormBound(strategy.norm_bound, self._state.norms)
        made = Collector(start, version + 1, arrivals.buffer, counting, bound)
        made.collected = shared or made.collected
        return KeepingCollector(made, self._start, version + 1) if self._keep else made

    def _sent(self, version: int) -> Vector:
        """The model of a round; of those on their way, the state has them."""
        if version == self._state.round:
            return self._state.model.parameters
        return self._state.flights.models[version].parameters
