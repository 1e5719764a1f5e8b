"""The server's state from round to round, and the result of each round."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hedgerow import checks
from hedgerow.types.costs import Spent
from hedgerow.types.evaluation import ClientEvaluation, SummedEvaluation
from hedgerow.types.flights import Flights
from hedgerow.types.model import Arrays, Model, Vector


@dataclass(frozen=True)
class ServerState:
    """Everything that the server keeps from one round to the next.

    Attributes:
        round: rounds done.
        model: the global model.
        update: state of the server update (momenta), named float arrays.
        streams: the server's value of each stream that is sent beside the delta and is not part of
            the model, `(n,) float32`.
        uncounted: `{client: round}` for each client that was asked and did not count, if a stream
            needs it: the first such round since the client last counted.
        aggregate: state of the rule that combines deltas, named arrays; and of those that combine
            streams, `stream/name`.
        private: state of a private strategy (an adaptive clip norm, future noise), named arrays;
            empty if nothing is private.
        holding: clients that have counted since they were sent the model's constants, which a
            simulation's ledger of bytes uses.
        norms: `{part: median}` of the l2 norms of what clients sent, the largest of the rounds so far,
            which bounds the next one; the delta's part is `""`, a stream's is its name. `"local steps"`
            has the same for their numbers of steps.
        strikes: `{client: rounds}` of its bad replies since its last one that counted.
        downlink: what clients have of earlier models, named arrays, if the strategy has a downlink; see
            `server.broadcast`.
        held: `{client: number}` of what each has of them that has counted, or measured a model.
        flights: of an asynchronous run: what is on its way.
        clock: of a run in simulated time: its clock, and when clients that are still at work are free.
    """

    round: int
    model: Model
    update: Arrays = field(default_factory=dict)
    streams: Mapping[str, Vector] = field(default_factory=dict)
    uncounted: Mapping[str, int] = field(default_factory=dict)
    aggregate: Arrays = field(default_factory=dict)
    private: Arrays = field(default_factory=dict)
    holding: frozenset[str] = frozenset()
    norms: Mapping[str, float] = field(default_factory=dict)
    strikes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    downlink: Arrays = field(default_factory=dict)
    held: Mapping[str, int] = field(default_factory=dict)
    clock: Mapping[str, float] = field(default_factory=dict)
    flights: Flights = field(default_factory=Flights)

    def __post_init__(self) -> None:
        checks.whole(0, round=self.round)
        checks.kind(Model, model=self.model)
        for name in (
            *("update", "streams", "uncounted", "aggregate", "private", "norms", "strikes"),
            *("downlink", "held", "clock"),
        ):
            checks.kind(Mapping, **{name: getattr(self, name)})
        checks.kind((frozenset, set), " of clients' names", holding=self.holding)
        checks.kind(Flights, flights=self.flights)


@dataclass(frozen=True)
class RoundResult:
    """What happened in one round.

    Attributes:
        state: the server's state after the round.
        cohort: stable names of the clients that were asked, sorted.
        dropped: `{client: reason}` for each asked client that does not count.
        failed: why the round changed nothing, or an empty text.
        bytes_up: `{client: bytes}` of each reply that arrived, as serialised.
        bytes_down: `{client: bytes}` of each message sent, as serialised.
        metrics: means over the clients that count, weighted by examples;
            empty in a private round.
        evaluation: of the global model, on the server; empty if there was none.
        seconds: wall time of the round, including evaluation.
        secure: how a masked sum was computed: `"masked"` by the whole protocol,
            `"unmasked"` if a simulation added the same numbers without masks;
            empty if the pipeline does not mask.
        epsilon: bound on what the run has revealed about any client so far, for
            the budget's delta; `None` if the strategy is not private.
        client_evaluation: clients' evaluations of the global model on their held-out
            samples, under a mask only means; `None` if they were not asked.
        set_aside: clients that are set aside after too many bad replies, sorted.
        steps_taken: `{client: share}` of its local steps that each client took which counts, if there is
            a time budget, nothing is private, and no mask hides it.
        staleness: `{client: steps}` of each reply that counts in an asynchronous run: the server's steps
            since the model that it was made from.
        spent: what the round took and cost in simulated time; `None` without a clock.
    """

    state: ServerState
    cohort: tuple[str, ...]
    dropped: Mapping[str, str]
    failed: str
    bytes_up: Mapping[str, int]
    bytes_down: Mapping[str, int]
    metrics: Mapping[str, float]
    evaluation: Mapping[str, float]
    seconds: float
    secure: str = ""
    epsilon: float | None = None
    client_evaluation: ClientEvaluation | SummedEvaluation | None = None
    set_aside: tuple[str, ...] = ()
    steps_taken: Mapping[str, float] = field(default_factory=dict)
    spent: Spent | None = None
    staleness: Mapping[str, int] = field(default_factory=dict)

    @property
    def round(self) -> int:
        """Number of the round, from 1."""
        return self.state.round
