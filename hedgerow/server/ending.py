"""The end of a round, whether its cohort was waited for or replies counted as they arrived."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

from flwr.serverapp import Grid

from hedgerow.server import set_aside
from hedgerow.server.broadcast import Broadcasts
from hedgerow.server.evaluation import EvaluationPlan
from hedgerow.server.exchange import KeepsTime
from hedgerow.server.kinds import Measures
from hedgerow.server.round_kind import Replies
from hedgerow.server.step import Aggregated, step
from hedgerow.spans import span
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Layout, Model, RoundResult, ServerState
from hedgerow.types.recording import Recording
from hedgerow.types.training import STEPS_TAKEN

log = logging.getLogger("hedgerow")

Evaluate = Callable[[Model], Mapping[str, float]]


@final
@dataclass(frozen=True)
class Gathered:
    """What a round has gathered.

    Attributes:
        cohort: the clients that were asked.
        replies: what was collected from them.
        found: their aggregate.
        recording: the input of the server's step.
        bytes_up: `{client: bytes}`.
        bytes_down: the same for what was sent.
        started: when the round began, on the monotonic clock.
        nodes: `{client: node id}` of all available clients.
        announced: whether the round had been announced by a server that was then killed.
        secure: how a masked sum is computed.
        epsilon: that the run has spent.
        staleness: of each reply that counts, in an asynchronous run.
    """

    cohort: tuple[str, ...]
    replies: Replies
    found: Aggregated
    recording: Callable[[], Recording]
    bytes_up: Mapping[str, int]
    bytes_down: Mapping[str, int]
    started: float
    nodes: Callable[[], Mapping[str, int]]
    announced: bool = False
    secure: str = ""
    epsilon: float | None = None
    staleness: Mapping[str, int] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class Ending:
    """How the rounds of a run end.

    Attributes:
        strategy: of the run.
        grid: which may keep a simulated clock.
        num_rounds: number of the last round.
        evaluate: evaluates the model on the server.
        evaluate_every: rounds from one evaluation to the next.
        plan: when clients evaluate the model.
        measures: has them evaluate it.
        record: keeps the input of each step.
        limit: bad replies in a row after which a client is set aside; 0 for never.
        folder: of the run.
        broadcasts: of the run.
        layout: of the model.
        seed: of the run.
    """

    strategy: Strategy
    grid: Grid
    num_rounds: int
    evaluate: Evaluate | None
    evaluate_every: int
    plan: EvaluationPlan | None
    measures: Measures | None
    record: Callable[[Recording], None] | None
    limit: int
    folder: Path | None
    broadcasts: Broadcasts
    layout: Layout
    seed: int

    def left_out(self, state: ServerState) -> frozenset[str]:
        """The clients that are set aside."""
        return set_aside.aside(state.strikes, self.limit, self._forgiven())

    def ended(
        self,
        state: ServerState,
        gathered: Gathered,
        left_out: frozenset[str],
        kept: Callable[[ServerState], ServerState] = lambda state: state,
    ) -> RoundResult:
        """Make the server's step, evaluate its model, and return the round's result.

        Args:
            state: before the step.
            gathered: in the round.
            left_out: who was set aside before it.
            kept: returns the state with what else it keeps after the step.
        """
        number, replies = state.round + 1, gathered.replies
        if self.record is not None:
            with span("save"):
                self.record(gathered.recording())
        with span("aggregate"):
            before, (state, failed) = state, step(self.strategy, state, gathered.found)
            proven = {name for name in gathered.found.cohort if gathered.bytes_down.get(name)}
            proven -= gathered.found.lost
            state = self.broadcasts.sent(before, state, proven, self.layout, self.seed)
        if not gathered.announced:
            strikes = set_aside.after(state.strikes, gathered.cohort, replies.dropped, number, self.limit)
            state = replace(state, strikes=strikes)
        left_out = self._now_set_aside(left_out, state, replies.dropped)
        clock = self.grid if isinstance(self.grid, KeepsTime) else None
        spent = None if clock is None else clock.spent()
        if clock is not None:
            state = replace(state, clock=clock.kept())
        state = kept(state)
        due = self.evaluate is not None and (number % self.evaluate_every == 0 or number == self.num_rounds)
        with span("evaluate"):
            evaluation = dict(self.evaluate(state.model)) if self.evaluate is not None and due else {}
        measured = None
        if self.plan and self.measures and self.plan.due(number, self.num_rounds):
            asked = {name: node for name, node in gathered.nodes().items() if name not in left_out}
            measured = self.measures(state, asked)
            if state.model.constants.size:
                state = replace(state, holding=state.holding.union(measured.clients))
            state = self.broadcasts.held(state, measured.clients, self.layout, self.seed)
        return RoundResult(
            state=state,
            cohort=gathered.cohort,
            dropped=dict(sorted(replies.dropped.items())),
            failed=failed,
            bytes_up=dict(sorted(gathered.bytes_up.items())),
            bytes_down=gathered.bytes_down,
            metrics=replies.means(),
            evaluation=evaluation,
            seconds=time.monotonic() - gathered.started,
            secure=gathered.secure,
            epsilon=gathered.epsilon,
            client_evaluation=measured,
            set_aside=tuple(sorted(left_out)),
            steps_taken=replies.each(STEPS_TAKEN),
            spent=spent,
            staleness=gathered.staleness,
        )

    def _forgiven(self) -> Mapping[str, int]:
        """The clients that an operator has readmitted; an unreadable file does not end the run."""
        try:
            return set_aside.forgiven(self.folder)
        except (ValueError, OSError) as error:
            log.warning("nobody is readmitted: %s", error)
            return {}

    def _now_set_aside(
        self, before: frozenset[str], state: ServerState, dropped: Mapping[str, str]
    ) -> frozenset[str]:
        """The clients that are not asked any more after a round; newly added ones are logged."""
        now = self.left_out(state)
        for name in sorted(now - before):
            log.warning(
                "client %s is set aside, and not asked any more, after %d bad replies in a row; the last: %s",
                name, self.limit, dropped.get(name),
            )  # fmt: skip
        return now
