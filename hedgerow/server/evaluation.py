"""Ask clients how well a model does on the samples that they hold out."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, final

from flwr.app import Message
from flwr.serverapp import Grid

from hedgerow import checks, records
from hedgerow.server.collect import collect
from hedgerow.server.collector import MOST_IN_METRICS
from hedgerow.server.replies import NO_REPLY, failure, said
from hedgerow.server.request import Constants, make_request
from hedgerow.strategies.measuring import refuse_evaluation
from hedgerow.strategies.sampling import fraction_of
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Layout, PayloadError, ServerState
from hedgerow.types.evaluation import ClientEvaluation, Measured
from hedgerow.wire.evaluation import unpack_evaluation


@final
@checks.arguments
@dataclass(frozen=True)
class EvaluationPlan:
    """Which clients measure the model, and when.

    Attributes:
        fraction: of the clients that are there, drawn by the run's seed and the round; 1 for all.
        every: rounds from one evaluation to the next; the last round always has one.

    Raises:
        ValueError: a value is out of range.
    """

    fraction: float = 1.0
    every: int = 1

    def __post_init__(self) -> None:
        checks.fraction(fraction=self.fraction)
        checks.whole(1, every=self.every)

    def due(self, round: int, num_rounds: int) -> bool:
        """Whether the model of a round is measured."""
        return round % self.every == 0 or round == num_rounds

    def drawn(self, names: tuple[str, ...], seed: int, round: int) -> tuple[str, ...]:
        """Who measures it, of the clients that are there."""
        return fraction_of(names, self.fraction, seed, "evaluate on clients", round) if names else ()


def check_plan(plan: EvaluationPlan | None, strategy: Strategy) -> None:
    """Raise `ValueError` where clients must not measure models, not even under a mask."""
    if plan is not None and (refused := refuse_evaluation(strategy)):
        raise ValueError(f"evaluation by clients: {refused}")


def evaluate_on_clients(
    grid: Grid,
    plan: EvaluationPlan,
    state: ServerState,
    nodes: Mapping[str, int],
    *,
    layout: Layout,
    seed: int,
    timeout: float | None = None,
    constants: Constants | None = None,
) -> ClientEvaluation:
    """What each client measures of the model of a state; one that cannot is dropped by name.

    Args:
        grid: where they are.
        plan: which of them.
        state: after the round.
        nodes: `{stable name: node id}` of the clients that are there, sorted by name.
        layout: of what travels of the model.
        seed: of the run.
        timeout: seconds for the replies; `None` waits for ever.
        constants: of the run, hashed already.
    """
    chosen = plan.drawn(tuple(nodes), seed, state.round)
    request = make_request(constants or Constants(), state, layout, seed=seed, cohort=(), ahead=0)
    start = StartEvaluation(layout)
    collector = start(state.round)
    asked = [(name, nodes[name]) for name in chosen]
    if asked:
        collect(grid, asked, request, start, collector, (state.round,), timeout, message_type="evaluate")
    found, size = collector.collected, records.measure(request.packed)
    return ClientEvaluation(
        dict(sorted(found.clients.items())),
        dict(sorted(found.dropped.items())),
        dict(sorted(found.bytes_up.items())),
        dict.fromkeys(chosen, size) | found.bytes_down,
    )


@dataclass
class Evaluated:
    """What has been made of some replies.

    Attributes:
        clients: what each that counts has measured.
        dropped: `{client: reason}`.
        bytes_up: `{client: bytes}` of each reply that arrived.
        bytes_down: `{client: bytes}` of what was sent, where that was not the same for all.
    """

    clients: dict[str, Measured] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    bytes_up: dict[str, int] = field(default_factory=dict)
    bytes_down: dict[str, int] = field(default_factory=dict)

    def merge(self, other: "Evaluated") -> None:
        """Add what was made of other replies."""
        self.clients.update(other.clients)
        self.dropped.update(other.dropped)
        self.bytes_up.update(other.bytes_up)


@final
class EvaluationCollector:
    """Checks the replies of one evaluation, and keeps what they say."""

    def __init__(self, layout: Layout, round: int) -> None:
        self._layout, self._round = layout, round
        self.collected = Evaluated()

    def add(self, client: str, reply: Message | None) -> None:
        """Keep what a client measured, or drop the client by name; `None` is no reply in time."""
        found = self.collected
        try:
            if reply is None:
                raise PayloadError(NO_REPLY)
            if reply.has_error():
                raise PayloadError(failure(reply.error))
            found.bytes_up[client] = records.measure(reply.content)
            found.clients[client] = _bounded(
                unpack_evaluation(
                    records.from_flower(reply.content), self._layout, round=self._round, client=client
                )
            )
        except PayloadError as error:
            found.dropped[client] = said(str(error))


def _bounded(measured: Measured) -> Measured:
    """No client counts for more than a million samples."""
    return replace(measured, num_examples=min(measured.num_examples, MOST_IN_METRICS))


@final
@dataclass(frozen=True)
class StartEvaluation:
    """Makes the collectors of evaluations: `start(round)`."""

    layout: Layout
    carried: ClassVar[bool] = True

    def __call__(self, round: int) -> EvaluationCollector:
        """A collector for the model of one round."""
        return EvaluationCollector(self.layout, round)
