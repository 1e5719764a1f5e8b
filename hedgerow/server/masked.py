"""Masked rounds, of which the server sees only a sum of ring vectors."""

from dataclasses import dataclass, field
from functools import partial
from typing import final

from hedgerow.server.broadcast import Broadcasts
from hedgerow.server.masked_collector import StartMasked
from hedgerow.server.masked_sums import MaskedSums
from hedgerow.server.request import make_request
from hedgerow.server.round_kind import Cohort, Counted
from hedgerow.server.secure import refusal
from hedgerow.strategies.transforms.mask import model_hash
from hedgerow.types import ServerState


@final
@dataclass
class MaskedRounds:
    """A `RoundKind` in which the server learns a sum.

    Attributes:
        sums: sums the vectors of cohorts.
        start: makes the rounds' collectors.
        broadcasts: of the run.
    """

    sums: MaskedSums
    start: StartMasked
    broadcasts: Broadcasts
    epsilon: float | None = field(default=None, init=False)
    shows_replies: bool = field(default=True, init=False)

    @property
    def secure(self) -> str:
        """How the sum is computed."""
        return "masked" if self.sums.masks else "unmasked"

    @property
    def sampling_seed(self) -> int:
        """The run's seed: same seed, same cohorts."""
        return self.start.seed

    def exhausted(self, state: ServerState) -> str:
        """There is always a next round."""
        return ""

    def announced(self, round: int) -> tuple[str, ...] | None:
        """The cohort that this round was announced to before a crash."""
        return self.sums.announcing.cohort(round)

    def open(self, state: ServerState, cohort: Cohort) -> None:
        """Pack the model for the clients that the round was, or will be, announced to."""
        self._state, self._cohort = state, cohort
        self._members = self.announced(state.round + 1) or tuple(cohort.nodes)
        self._request = make_request(
            self.broadcasts, state, self.start.layout,
            seed=self.start.seed, cohort=cohort.nodes, clients=len(self._members),
        )  # fmt: skip

    def close(self) -> Counted:
        """Let the cohort sum its updates, unless it is unfit for masking."""
        start, clients, number = self.start, len(self._members), self._state.round + 1
        if clients and (refused := refusal(start.secure, start.shape, clients)):
            collector = start(number, 0)
            collector.collected.failed = refused
            return Counted(start.strategy, self._cohort, collector)
        collector = start(number, clients)
        if clients:
            sent = self._request.broadcast.of(self._state.model)
            self.sums.gather(
                start, collector, self._request, self._members, self._cohort.nodes,
                round=number, model=partial(model_hash, sent, start.layout, start.seed, number),
            )  # fmt: skip
        return Counted(start.strategy, self._cohort, collector)
