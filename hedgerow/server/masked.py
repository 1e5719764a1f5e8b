"""Masked rounds, of which the server sees only a sum of ring vectors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from flwr.serverapp import Grid

from hedgerow.server.announced import Announced
from hedgerow.server.collect import collect
from hedgerow.server.masked_collector import MaskedCollector, StartMasked
from hedgerow.server.request import Constants, Request, make_request
from hedgerow.server.round_kind import Cohort, Counted
from hedgerow.server.secure import aggregate, refusal, set_up, shortfall
from hedgerow.strategies.transforms.mask import model_hash
from hedgerow.types import ServerState


@final
@dataclass
class MaskedRounds:
    """A `RoundKind` in which the server learns a sum, by the five stages of secure aggregation.

    Attributes:
        grid: the grid that reaches the clients.
        start: makes the rounds' collectors.
        timeout: seconds for each stage; `None` waits for ever.
        constants: of the run.
        announcing: stores what is announced, and the run's name in the protocol.
        register: identity keys of clients, if the server pins them too.
        masks: run the whole protocol. Otherwise the same numbers are summed in the clear, which only
            simulated clients do.
    """

    grid: Grid
    start: StartMasked
    timeout: float | None
    constants: Constants
    announcing: Announced
    register: Mapping[str, bytes] | None = None
    masks: bool = True
    epsilon: float | None = field(default=None, init=False)
    shows_replies: bool = field(default=True, init=False)

    @property
    def secure(self) -> str:
        """How the sum is computed."""
        return "masked" if self.masks else "unmasked"

    @property
    def sampling_seed(self) -> int:
        """The run's seed: same seed, same cohorts."""
        return self.start.seed

    def exhausted(self, state: ServerState) -> str:
        """There is always a next round."""
        return ""

    def announced(self, round: int) -> tuple[str, ...] | None:
        """The cohort that this round was announced to before a crash."""
        return self.announcing.cohort(round)

    def open(self, state: ServerState, cohort: Cohort) -> None:
        """Pack the model for the clients that the round was, or will be, announced to."""
        self._state, self._cohort = state, cohort
        self._members = self.announced(state.round + 1) or tuple(cohort.nodes)
        self._request = make_request(
            self.constants, state, self.start.layout,
            seed=self.start.seed, cohort=cohort.nodes, clients=len(self._members),
        )  # fmt: skip

    def close(self) -> Counted:
        """Let the cohort sum its updates, unless it is unfit for masking."""
        start, clients, number = self.start, len(self._members), self._state.round + 1
        if clients and (refused := refusal(start.strategy, start.layout, clients)):
            collector = start(number, 0)
            collector.collected.failed = refused
            return Counted(start.strategy, self._cohort, collector, None)
        collector = start(number, clients)
        if clients and self.masks:
            self._masked(collector, self._request)
        elif clients:
            self._unmasked(collector, self._request)
        return Counted(start.strategy, self._cohort, collector, self._request.packed)

    def _masked(self, collector: MaskedCollector, request: Request) -> None:
        start, round = self.start, self._state.round + 1
        model = model_hash(self._state.model, start.layout, start.seed, round)
        setup = set_up(start.secure, collector.shape, self._members, self.announcing.run, round, model)
        if refused := self.announcing.announce(setup):
            collector.collected.failed = refused
            return
        aggregate(
            self.grid, setup, request, self._cohort.nodes, collector.collected,
            register=self.register, timeout=self.timeout,
        )  # fmt: skip

    def _unmasked(self, collector: MaskedCollector, request: Request) -> None:
        start, clients = self.start, len(self._cohort.nodes)
        asked, arguments = list(self._cohort.nodes.items()), (self._state.round + 1, clients)
        collect(self.grid, asked, request, start, collector, arguments, self.timeout)
        collected = collector.collected
        collected.failed = shortfall(start.secure, collected.counted, clients)
