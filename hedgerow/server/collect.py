"""The replies of a round, summed as they arrive, in one place or in several."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, final, runtime_checkable

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from hedgerow import records
from hedgerow.server.exchange import exchange
from hedgerow.server.replies import NO_REPLY, TOO_LATE, failure
from hedgerow.server.request import Request, lacking
from hedgerow.spans import span
from hedgerow.strategies.aggregates.base import Accumulator, OutOfRange
from hedgerow.strategies.pipeline.coding import check_payload, decode
from hedgerow.strategies.pipeline.norms import l2_norm
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.streams import joined, part
from hedgerow.types import (
    Arrays,
    Client,
    CohortSum,
    Layout,
    Payload,
    PayloadError,
    RoundContext,
    Sender,
    Tensor,
    Vector,
)
from hedgerow.wire.replies import Reply, checked_reply, measure_reply, unpack_reply

MOST_IN_METRICS = 1_000_000
"""A client's metrics weigh no more, unless its update does."""


@dataclass
class Collected:
    """What has been made of some of a round's replies; small enough to be sent between processes.

    Attributes:
        deltas: of the clients that count.
        streams: what they sent beside their deltas, by the stream's name.
        metrics: `{metric: {client: (examples, value)}}`.
        dropped: `{client: reason}`.
        bytes_up: `{client: bytes}` of each reply that arrived.
        bytes_down: `{client: bytes}` of what was sent, where that was not the same for all.
        counted: clients that count.
        failed: why they cannot count, whatever they replied.
        kept: `{client: reply}` of those that count, where replies are recorded.
    """

    deltas: Accumulator
    streams: dict[str, Accumulator]
    metrics: dict[str, dict[str, tuple[int, float]]] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    bytes_up: dict[str, int] = field(default_factory=dict)
    bytes_down: dict[str, int] = field(default_factory=dict)
    counted: int = 0
    failed: str = ""
    kept: dict[str, bytes] = field(default_factory=dict)

    def merge(self, other: "Collected") -> None:
        """Add what was made of other replies of the round; in whatever order, the result is the same."""
        if not (other.counted or other.dropped):
            return
        self.deltas.merge(other.deltas)
        for name, total in self.streams.items():
            total.merge(other.streams[name])
        for name, by_client in other.metrics.items():
            self.metrics.setdefault(name, {}).update(by_client)
        self.dropped.update(other.dropped)
        self.bytes_up.update(other.bytes_up)
        self.counted += other.counted
        self.kept.update(other.kept)

    def means(self) -> dict[str, float]:
        """Each metric's mean over the clients that sent it, weighted by examples."""
        means = {}
        for name, by_client in sorted(self.metrics.items()):
            # Sorted by client, so that arrival order does not show in the last bit.
            pairs = [by_client[client] for client in sorted(by_client)]
            means[name] = sum(n * value for n, value in pairs) / sum(n for n, _ in pairs)
        return means


class Counting(Protocol):
    """What is counted of a payload, and what the aggregate of that comes to."""

    @property
    def shows_metrics(self) -> bool:
        """Whether clients' metrics are shown."""

    def size(self, strategy: Strategy, layout: Layout) -> int:
        """Values that each client adds."""

    def fitting(self, strategy: Strategy, clients: int) -> int:
        """Clients of which a sum must fit, in a cohort of so many."""

    def values(self, strategy: Strategy, payload: Payload, context: RoundContext) -> Vector:
        """What a client adds; raises `PayloadError` where it cannot be."""

    def delta(self, strategy: Strategy, aggregate: Vector, context: RoundContext) -> Vector:
        """The delta `(d,) float32` of an aggregate of what clients added."""


@final
@dataclass(frozen=True)
class OnSum:
    """Payloads of a summable pipeline are added up as they are, and decoded once."""

    shows_metrics: bool = True

    def size(self, strategy: Strategy, layout: Layout) -> int:
        """As many as the pipeline sends."""
        return strategy.pipeline.length(layout.dimension)

    def fitting(self, strategy: Strategy, clients: int) -> int:
        """The cohort."""
        return clients

    def values(self, strategy: Strategy, payload: Payload, context: RoundContext) -> Vector:
        """The encoded values; whether they are finite, the sum looks."""
        check_payload(strategy.pipeline, payload, context, finite=False)
        return payload.values

    def delta(self, strategy: Strategy, aggregate: Vector, context: RoundContext) -> Vector:
        """The decoded mean."""
        return decode(strategy.pipeline, Payload({"values": aggregate}), context)


@final
@dataclass(frozen=True)
class Each:
    """Each payload is decoded, and bounded where the strategy says so."""

    shows_metrics: bool = True

    def size(self, strategy: Strategy, layout: Layout) -> int:
        """As many as the model has."""
        return layout.dimension

    def fitting(self, strategy: Strategy, clients: int) -> int:
        """The cohort."""
        return clients

    def values(self, strategy: Strategy, payload: Payload, context: RoundContext) -> Vector:
        """The client's delta."""
        delta, bound = decode(strategy.pipeline, payload, context), strategy.max_norm
        if bound is not None and not (norm := l2_norm(delta)) <= bound:
            raise PayloadError(f"the norm of its delta is {norm:.4g}; at most {bound:g} is allowed")
        return delta

    def delta(self, strategy: Strategy, aggregate: Vector, context: RoundContext) -> Vector:
        """The aggregate is the delta."""
        return aggregate


class Collector:
    """Checks the replies of one round and counts them into `collected`.

    Args:
        start: of the run.
        round: number of the round.
        clients: size of the whole cohort, also where others count in a part of it.
        counting: what is counted of a payload.
    """

    def __init__(self, start: "Start", round: int, clients: int, counting: Counting) -> None:
        strategy, layout = start.strategy, start.layout
        self._strategy, self._layout, self._seed, self._round = strategy, layout, start.seed, round
        self._counting = counting
        self._streams = {s.name: s for s in strategy.all_streams if s.size(layout)}
        self._sizes = {name: stream.size(layout) for name, stream in self._streams.items()}
        self._max_weight = strategy.largest_weight
        self._most_examples = max(MOST_IN_METRICS, strategy.pipeline.max_weight)
        self._tensors_of = {name: _Named(_tensors(layout, size)) for name, size in self._sizes.items()}
        cohort, size = max(1, clients), counting.size(strategy, layout)
        self._tensors = _Named(_tensors(layout, size))
        self.collected = Collected(
            strategy.aggregate.start(size, counting.fitting(strategy, cohort)),
            {
                name: strategy.rule_for(stream).start(self._sizes[name], cohort)
                for name, stream in self._streams.items()
            },
        )

    def add(self, client: str, reply: Message | Reply | None) -> None:
        """Count a client's reply in, or drop the client by name.

        Args:
            client: its name.
            reply: `None` is no reply in time. In a simulation it need not be packed: what is made
                of it is the same, down to the bytes that it would take.
        """
        try:
            self._count_in(client, reply)
        except PayloadError as error:
            self.collected.dropped[client] = str(error)
        # A plug-in's decode met bytes it did not expect: the client's fault, not the run's.
        except Exception as error:
            reason = f"its reply cannot be decoded: {type(error).__name__}: {error}"
            self.collected.dropped[client] = reason

    def result(self, state: Arrays) -> tuple[Vector, Arrays]:
        """The aggregate `(d,) float32` of what was counted in, and the rule's next state."""
        values, after = self._strategy.aggregate.apply(self.collected.deltas, part(state, ""))
        return self._counting.delta(self._strategy, values, self._context(CohortSum())), after

    def recorded(self) -> tuple[Mapping[str, bytes], Arrays]:
        """The replies that were kept."""
        return self.collected.kept, {}

    def streams(self, state: Arrays) -> tuple[Mapping[str, Vector], Arrays]:
        """What each stream's aggregate gave, and the next state of the rules that made them."""
        found: dict[str, Vector] = {}
        after: dict[str, Arrays] = {}
        for name, total in self.collected.streams.items():
            rule = self._strategy.rule_for(self._streams[name])
            found[name], after[name] = rule.apply(total, part(state, name))
        return found, joined(after)

    def _count_in(self, client: str, message: Message | Reply | None) -> None:
        if message is None:
            raise PayloadError(NO_REPLY)
        collected = self.collected
        with span("records"):
            reply = self._opened(client, message)
        weight = reply.payload.weight
        with span("aggregate"):
            # The streams first into a trial: all are counted, or none.
            present = [
                (name, collected.streams[name], reply.streams[name], weight if stream.weighted else 1.0)
                for name, stream in self._streams.items()
            ]
            for name, total, values, heavy in present:
                with self._tensors_of[name]:
                    total.check(values, heavy)
            values = self._counting.values(self._strategy, reply.payload, self._context(Client(client)))
            with self._tensors:
                collected.deltas.add(client, values, weight)
            for _, total, values, heavy in present:
                total.add(client, values, heavy)
        examples = min(reply.num_examples, self._most_examples)
        for name, value in reply.metrics.items() if self._counting.shows_metrics else ():
            collected.metrics.setdefault(name, {})[client] = (examples, value)
        collected.counted += 1

    def _opened(self, client: str, message: Message | Reply) -> Reply:
        """A reply, measured and checked."""
        sizes, max_weight = self.collected.bytes_up, self._max_weight
        if isinstance(message, Reply):
            sizes[client] = measure_reply(message, round=self._round, client=client)
            return checked_reply(message, max_weight=max_weight, streams=self._sizes)
        if message.has_error():
            raise PayloadError(failure(message.error))
        sizes[client] = records.measure(message.content)
        return unpack_reply(
            records.from_flower(message.content), self._layout,
            round=self._round, client=client, max_weight=max_weight, streams=self._sizes,
        )  # fmt: skip

    def _context(self, sender: Sender) -> RoundContext:
        return RoundContext(self._seed, self._round, sender, self._layout)


def _tensors(layout: Layout, size: int) -> Sequence[Tensor]:
    """Where as many values are added as a part of the model has, each is of one of its tensors."""
    if size == layout.dimension:
        return layout.parameters
    return layout.buffers if size == layout.buffer_size else ()


class _Named:
    """Names the tensor of a value that is out of range; entered for each client, and so made once."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = tensors

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, OutOfRange):
            return
        end = 0
        for tensor in self._tensors:
            end += tensor.size
            if error.position < end:
                raise PayloadError(f"in {tensor.name!r} {error}") from None


class Start(Protocol):
    """Makes the collectors of a run's rounds: `start(round, clients, ...)`.

    Two are equal where they would make the same ones, so that processes that
    have one know whether it is the one that is asked for.
    """

    @property
    def strategy(self) -> Strategy:
        """Of the run."""

    @property
    def layout(self) -> Layout:
        """Of the model."""

    @property
    def seed(self) -> int:
        """Of the run."""

    def __call__(self, round: int, clients: int, *bounds: Any) -> Any:
        """A collector for one round of a cohort of so many clients."""


@final
@dataclass(frozen=True)
class StartCollector:
    """Makes collectors that see each reply; they add encoded values up where the pipeline allows it."""

    strategy: Strategy
    layout: Layout
    seed: int

    def __call__(self, round: int, clients: int, *bounds: Any) -> Collector:
        """A collector for one round of a cohort of so many clients."""
        strategy = self.strategy
        on_sum = strategy.pipeline.summable and strategy.aggregate.linear and strategy.max_norm is None
        return Collector(self, round, clients, OnSum() if on_sum else Each())


def collect(
    grid: Grid,
    asked: Sequence[tuple[str, int]],
    request: Request,
    start: Callable[..., Any],
    collector: Any,
    arguments: tuple[Any, ...],
    timeout: float | None,
    message_type: str = "train",
    enough: int | None = None,
) -> None:
    """Ask clients for their part of a round, and count what they reply into the collector.

    Args:
        asked: `(stable name, node id)` of each client.
        request: what each is asked; a client that lacks the model's constants is sent them, once.
        start: `start(*arguments)` makes collectors like this one.
        arguments: the first is the number of the round.
        timeout: seconds for the replies.
        enough: so many that count end it; the others are too late. `None` takes all.
    """
    group, down = str(arguments[0]), collector.collected.bytes_down
    if isinstance(grid, Reduces):
        parts = grid.reduce(
            start, arguments, asked, request.lent,
            message_type=message_type, group_id=group, timeout=timeout,
        )  # fmt: skip
        for part in parts:
            with span("aggregate"):
                collector.collected.merge(part)
        down.update(request.sizes([name for name, _ in asked]))
        return
    clients = {node: name for name, node in asked}

    def message(node: int, content: RecordDict) -> Message:
        return Message(content, dst_node_id=node, message_type=message_type, group_id=group, ttl=timeout)

    def filled(node: int, reply: Message) -> Message | None:
        if clients[node] in down or not lacking(reply):
            return None
        down[clients[node]] = records.measure(request.packed) + records.measure(request.packed_whole)
        return message(node, request.packed_whole)

    messages = [message(node, request.packed) for node in clients]
    for node, reply in exchange(grid, messages, timeout, filled):
        collector.add(clients.pop(node), reply)
        if enough is not None and collector.collected.counted >= enough:
            collector.collected.dropped.update(dict.fromkeys(clients.values(), TOO_LATE))
            return


@runtime_checkable
class Reduces(Protocol):
    """A grid that counts replies in where they are made, as the simulation's can.

    Only sums then travel and lie in memory, not one reply a client. What comes
    out is the same as with one collector for all.
    """

    def reduce(
        self,
        start: Callable[..., Any],
        arguments: tuple[Any, ...],
        asked: Sequence[tuple[str, int]],
        content: RecordDict,
        *,
        message_type: str,
        group_id: str,
        timeout: float | None,
    ) -> Iterable[Any]:
        """Send one record to clients, and yield what collectors made of the replies.

        Args:
            start: makes a collector, from `arguments`.
            arguments: small, and can be pickled.
            asked: `(stable name, node id)` of each client.
            content: what each is sent.
            timeout: seconds after which no further client is started; those
                left over count as without a reply.
        """
