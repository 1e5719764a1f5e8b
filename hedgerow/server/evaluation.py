"""Ask clients how well a model does on their held-out samples."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, final

from flwr.app import Message
from flwr.serverapp import Grid

from hedgerow import checks, records
from hedgerow.server.broadcast import Broadcasts
from hedgerow.server.collect import collect
from hedgerow.server.collector import MOST_IN_METRICS
from hedgerow.server.replies import NO_REPLY, failure, said
from hedgerow.server.request import make_request
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
    """Which clients evaluate the model, and when.

    Attributes:
        fraction: of the available clients, drawn by the run's seed and the round; 1 for all.
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
        """Whether the model of a round is evaluated."""
        return round % self.every == 0 or round == num_rounds

    def drawn(self, names: tuple[str, ...], seed: int, round: int) -> tuple[str, ...]:
        """Who measures it, of the clients that are there."""
        return fraction_of(names, self.fraction, seed, "evaluate on clients", round) if names else ()


def check_plan(plan: EvaluationPlan | None, strategy: Strategy) -> None:
    """Raise `ValueError` if the strategy does not allow clients to evaluate models, not even under a mask."""
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
    broadcasts: Broadcasts | None = None,
) -> ClientEvaluation:
    """Let clients evaluate the model of a state; a client that cannot is dropped by name.

    Args:
        grid: the grid that reaches the clients.
        plan: which clients.
        state: after the round.
        nodes: `{stable name: node id}` of the available clients, sorted by name.
        layout: of the shared part of the model.
        seed: of the run.
        timeout: seconds to wait for the replies; `None` waits for ever.
        broadcasts: of the run; by default the model is sent as it is.
    """
    chosen = plan.drawn(tuple(nodes), seed, state.round)
    request = make_request(broadcasts or Broadcasts(), state, layout, seed=seed, cohort=(), ahead=0)
    start = StartEvaluation(layout)
    collector = start(state.round)
    asked = [(name, nodes[name]) for name in chosen]
    if asked:
        collect(grid, asked, request, start, collector, (state.round,), timeout, message_type="evaluate")
    found = collector.collected
    return ClientEvaluation(
        dict(sorted(found.clients.items())),
        dict(sorted(found.dropped.items())),
        dict(sorted(found.bytes_up.items())),
        found.bytes_down,
    )


@dataclass
class Evaluated:
    """What has been collected from some replies.

    Attributes:
        clients: measurements of each client that counts.
        dropped: `{client: reason}`.
        bytes_up: `{client: bytes}` of each reply that arrived.
        bytes_down: `{client: bytes}` of what was sent.
    """

    clients: dict[str, Measured] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    bytes_up: dict[str, int] = field(default_factory=dict)
    bytes_down: dict[str, int] = field(default_factory=dict)

    def merge(self, other: "Evaluated") -> None:
        """Add what was collected from other replies."""
        self.clients.update(other.clients)
        self.dropped.update(other.dropped)
        self.bytes_up.update(other.bytes_up)


@final
class EvaluationCollector:
    """Checks the replies of one evaluation, and keeps their measurements."""

    def __init__(self, layout: Layout, round: int) -> None:
        self._layout, self._round = layout, round
        self.collected = Evaluated()

    def add(self, client: str, reply: Message | None) -> None:
        """Keep a client's measurements, or drop the client by name; `None` if no reply came in time."""
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
    """Limit a client's number of samples to a million."""
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
