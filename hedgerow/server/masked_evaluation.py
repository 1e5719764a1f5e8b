"""Have what clients measure of a model summed under their strategy's mask: the server learns means alone."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, final

from hedgerow.ring.secagg import SecureAggregation
from hedgerow.ring.vector import Shape
from hedgerow.server.broadcast import Broadcasts
from hedgerow.server.evaluation import EvaluationPlan
from hedgerow.server.masked_collector import SumCollector
from hedgerow.server.masked_sums import MaskedSums
from hedgerow.server.request import make_request
from hedgerow.server.secure import refusal
from hedgerow.strategies.measuring import measured_means, measured_shape
from hedgerow.strategies.transforms.mask import model_hash
from hedgerow.types import Layout, ServerState
from hedgerow.types.evaluation import SummedEvaluation

log = logging.getLogger("hedgerow")


@final
@dataclass(frozen=True)
class StartMeasured:
    """Makes the collectors of what clients measure: `start(round, clients)`."""

    secure: SecureAggregation
    carried: ClassVar[bool] = True

    def shape(self, clients: int) -> Shape:
        """What each of a cohort adds."""
        return measured_shape(self.secure, clients)

    def __call__(self, round: int, clients: int) -> SumCollector:
        """A collector for the model of one round."""
        return SumCollector(self.shape(clients))


@final
@dataclass(frozen=True)
class MaskedEvaluation:
    """Measures models on clients; where that cannot be, it says why, and the run goes on.

    Attributes:
        plan: which clients.
        sums: has them summed.
        start: makes the collectors.
        layout: of what travels of the model.
        seed: of the run.
        broadcasts: of the run.
    """

    plan: EvaluationPlan
    sums: MaskedSums
    start: StartMeasured
    layout: Layout
    seed: int
    broadcasts: Broadcasts

    def __call__(self, state: ServerState, nodes: Mapping[str, int]) -> SummedEvaluation:
        """What clients measure of the model of a state.

        Args:
            state: after the round.
            nodes: `{stable name: node id}` of the clients that are there, sorted by name.
        """
        before = self.sums.announcing.cohort(state.round)
        members = before or self.plan.drawn(tuple(nodes), self.seed, state.round)
        found = self._measured(state, members, {name: nodes[name] for name in members if name in nodes})
        if found.failed:
            log.warning("the model of round %d is not measured: %s", state.round, found.failed)
        return found

    def _measured(
        self, state: ServerState, members: tuple[str, ...], there: Mapping[str, int]
    ) -> SummedEvaluation:
        start, round = self.start, state.round
        if refused := refusal(start.secure, start.shape, len(members)):
            return SummedEvaluation(failed=refused)
        request = make_request(
            self.broadcasts, state, self.layout, seed=self.seed, cohort=(), clients=len(members), ahead=0
        )
        collector = start(round, len(members))
        self.sums.gather(
            start, collector, request, members, there,
            round=round,
            model=partial(model_hash, request.broadcast.of(state.model), self.layout, self.seed, round),
        )  # fmt: skip
        replies = collector.collected
        means, failed = {}, replies.failed
        if not failed:
            try:
                means = dict(measured_means(replies.sum, replies.counted))
            except ValueError as error:
                failed = str(error)
        return SummedEvaluation(
            means,
            () if failed else tuple(name for name in members if name not in replies.dropped),
            failed,
            dict(sorted(replies.dropped.items())),
            dict(sorted(replies.bytes_up.items())),
            dict(sorted(replies.bytes_down.items())),
        )
