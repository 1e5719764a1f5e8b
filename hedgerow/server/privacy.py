"""What a private run has revealed, written down before it is revealed."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hedgerow import rng
from hedgerow.privacy.events import Event
from hedgerow.privacy.ledger import Ledger, LedgerError
from hedgerow.server.collect import Collector
from hedgerow.server.masked import MaskedCollector
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Layout, ServerState

log = logging.getLogger("hedgerow")

_RELEASES = "releases"


@dataclass(frozen=True)
class PrivateRounds:
    """What the rounds of a private strategy do differently.

    Attributes:
        strategy: a private one.
        seed: of the run.
        ledger: counts what is released.
        seeded: the seed decides noise and cohorts, so that a simulation can be
            repeated. Whoever knows the seed can then take the noise off.

    Raises:
        ValueError: the model has values that would be averaged without noise.
        LedgerError: the ledger holds less than the state has released.
    """

    strategy: Strategy
    seed: int
    ledger: Ledger
    seeded: bool

    def check(self, layout: Layout, state: ServerState) -> None:
        """Refuse to begin where the ledger would not be true."""
        if layout.buffer_size:
            raise ValueError(
                f"the model has {layout.buffer_size} values that are not trained but averaged, in"
                f" {layout.buffers[0].name!r}; that would be without noise: use GroupNorm in place of"
                " BatchNorm, or, if training does not change it,"
                f" `Task(..., constants=[{layout.buffers[0].name!r}])`"
            )
        self.strategy.release.sigma(self.clip_norm(state), len(state.model.parameters) + 1)
        released = int(state.private[_RELEASES][0])
        if self.ledger.releases < released:
            raise LedgerError(
                f"the ledger holds {self.ledger.releases} releases, and {released} were made: privacy.jsonl"
                " was changed or removed. Restore it from a copy, or start a new run"
            )

    def exhausted(self, state: ServerState) -> str:
        """Why the run stops before its next round, or an empty text."""
        if self.ledger.allows(self._event(state)):
            return ""
        return f"one more round would pass the privacy budget, epsilon {self.ledger.budget.epsilon:g}"

    @property
    def sampling_seed(self) -> int:
        """Decides who is in the next cohort; where that is drawn in a real run, nobody can guess it."""
        fixed = self.seeded or self.strategy.sampling.groups is not None
        return self.seed if fixed else rng.secret_seed()

    def clip_norm(self, state: ServerState) -> float:
        """This round's bound of a client's delta."""
        return self.strategy.release.bounding.norm(state.private)

    def update(self, state: ServerState, collector: Collector | MaskedCollector) -> tuple[ServerState, str]:
        """The state after a round, and why it released nothing, or an empty text."""
        number, strategy = state.round + 1, self.strategy
        unchanged = replace(state, round=number)
        if collector.collected.failed:
            return unchanged, collector.collected.failed
        fewest, counted = strategy.release.noise.fewest, collector.collected.counted
        if counted < fewest:
            return unchanged, f"{counted} clients count, and the noise of {fewest} makes a sum private"
        try:
            total = collector.total()
        except OverflowError as error:
            return unchanged, f"{error}; nothing is released"
        words = rng.seeded_words(self.seed, "noise", round=number) if self.seeded else rng.system_words
        try:
            released = strategy.release(total, state.private, words)
        except ValueError as error:  # an adaptive norm has grown too large
            return unchanged, f"{error}; nothing is released"
        noise = "seeded: a simulation" if self.seeded else "system"
        try:
            self.ledger.record(number, self._event(state), released.digest, noise=noise)
        except OSError as error:
            return unchanged, f"the ledger cannot be written ({error}), so that nothing is released"
        private = {**released.state, _RELEASES: state.private[_RELEASES] + 1}
        parameters, update = strategy.server_update.apply(
            state.model.parameters, released.delta, state.update
        )
        if not np.isfinite(parameters).all():
            why = "the new model would not be finite; the server's learning rate may be too large"
            return replace(unchanged, private=private), why
        model = replace(state.model, parameters=parameters)
        return replace(unchanged, model=model, update=update, private=private), ""

    def _event(self, state: ServerState) -> Event:
        n = self.strategy.pipeline.length(len(state.model.parameters))
        return self.strategy.release.noise.event(self.strategy.sampling, state.round + 1, n)


def begin_private(strategy: Strategy, dimension: int) -> Mapping[str, Any]:
    """The private part of the server's state before the first round; empty where nothing is private."""
    if not strategy.private:
        return {}
    return {**strategy.release.init(dimension), _RELEASES: np.zeros(1, np.int64)}
