"""Check the replies of a round and sum them as they arrive."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, isfinite
from typing import Any, Protocol, final

from flwr.app import Message

from hedgerow import records
from hedgerow.server.collected import Collected
from hedgerow.server.counting import Counting, Each, OnSum
from hedgerow.server.norm_bound import STEPS, NormBound, Norms
from hedgerow.server.replies import NO_REPLY, failure, said
from hedgerow.spans import span
from hedgerow.strategies.aggregates.base import OutOfRange
from hedgerow.strategies.norms import quick_norm
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.streams import joined, part
from hedgerow.types import (
    Arrays,
    Client,
    CohortSum,
    Layout,
    PayloadError,
    RoundContext,
    Sender,
    Tensor,
    Vector,
)
from hedgerow.types.training import STEPS_TAKEN
from hedgerow.wire.fields import NO_VALUES
from hedgerow.wire.replies import Reply, checked_reply, measure_reply, unpack_reply

MOST_IN_METRICS = 1_000_000
"""Upper bound on the weight of a client's metrics, unless its update may weigh more."""


_NO_BOUND = NormBound()


class Collector:
    """Checks the replies of one round and adds them to `collected`.

    Args:
        start: of the run.
        round: number of the round.
        clients: size of the whole cohort, even if other collectors count part of it.
        counting: what of a payload is added.
        bound: bound on the norms of what a client sends.
    """

    def __init__(
        self, start: "Start", round: int, clients: int, counting: Counting, bound: NormBound = _NO_BOUND
    ) -> None:
        strategy, layout = start.strategy, start.layout
        self._strategy, self._layout, self._seed, self._round = strategy, layout, start.seed, round
        self._counting, self._bound = counting, bound
        # Computed once, for the bound and for the sum.
        self._norm: Callable[[Vector], float] = quick_norm if bound.factor else _not_needed
        self._streams = {s.name: s for s in strategy.all_streams if s.size(layout)}
        self._sizes = {name: stream.size(layout) for name, stream in self._streams.items()}
        # Most clients have the same number of samples.
        self._steps = lru_cache(maxsize=64)(strategy.local.steps)
        self._max_weight = strategy.largest_weight
        self._most_examples = max(MOST_IN_METRICS, strategy.pipeline.max_weight)
        cohort, size = max(1, clients), counting.size(strategy, layout)
        self.collected = Collected(
            strategy.aggregate.start(size, counting.fitting(strategy, cohort)),
            {
                name: strategy.rule_for(stream).start(self._sizes[name], cohort)
                for name, stream in self._streams.items()
            },
        )

    def add(self, client: str, reply: Message | Reply | None) -> None:
        """Add a client's reply, or drop the client by name.

        Args:
            client: its name.
            reply: `None` if none came in time. In a simulation it need not be packed: the result is
                the same, including the bytes that the reply would take.
        """
        try:
            self._count_in(client, reply)
        except PayloadError as error:
            self.collected.dropped[client] = said(str(error))
        # A plug-in's `decode` met bytes it did not expect: the client's fault, not the run's.
        except Exception as error:
            reason = f"its reply cannot be decoded: {type(error).__name__}: {error}"
            self.collected.dropped[client] = said(reason)

    def result(self, state: Arrays) -> tuple[Vector, Arrays]:
        """The aggregate `(d,) float32` of what was added, and the rule's next state."""
        values, after = self._strategy.aggregate.apply(self.collected.deltas, part(state, ""))
        return self._counting.delta(self._strategy, values, self._context(CohortSum())), after

    def recorded(self) -> tuple[Mapping[str, bytes], Arrays]:
        """The replies that were kept."""
        return self.collected.kept, {}

    def streams(self, state: Arrays) -> tuple[Mapping[str, Vector], Arrays]:
        """The aggregate of each stream, and the next state of their rules."""
        found: dict[str, Vector] = {}
        after: dict[str, Arrays] = {}
        for name, total in self.collected.streams.items():
            rule = self._strategy.rule_for(self._streams[name])
            found[name], after[name] = rule.apply(total, part(state, name))
        return found, joined(after)

    def bounding(self) -> tuple[NormBound, Norms]:
        """The bound on the round's norms, and the norms."""
        return self._bound, self.collected.norms

    def _count_in(self, client: str, message: Message | Reply | None) -> None:
        if message is None:
            raise PayloadError(NO_REPLY)
        collected = self.collected
        with span("records"):
            reply = self._opened(client, message)
        weight = reply.payload.weight
        with span("aggregate"):
            # Check all streams first: either all are added, or none.
            present, norms = [], {"": inf}
            for name, stream in self._streams.items():
                heavy = weight if stream.weighted else 1.0
                norms[name] = norm = self._norm(reply.streams[name])
                present.append((collected.streams[name], reply.streams[name], heavy, norm))
            values: Vector = NO_VALUES
            try:
                for total, values, heavy, norm in present:
                    total.check(values, heavy, norm=norm)
                values = self._counting.values(
                    self._strategy, self._layout, reply.payload, lambda: self._context(Client(client))
                )
                norms[""] = norm = self._norm(values)
                if self._bound.factor:
                    self._bound_norms(client, reply, norms)
                collected.deltas.add(client, values, weight, norm=norm)
            except OutOfRange as error:
                raise _named(error, _tensors(self._layout, len(values))) from None
            for total, values, heavy, norm in present:
                total.add(client, values, heavy, norm=norm)
        examples = min(reply.num_examples, self._most_examples)
        for name, value in reply.metrics.items() if self._counting.shows_metrics else ():
            collected.metrics.setdefault(name, {})[client] = (examples, value)
        collected.counted += 1

    def _bound_norms(self, client: str, reply: Reply, norms: Mapping[str, float]) -> None:
        """Record the norm of each part; raise `PayloadError` if one is too large."""
        steps = float(self._steps(max(1, reply.num_examples)))
        if (share := reply.metrics.get(STEPS_TAKEN)) is not None:
            steps = max(1.0, min(1.0, max(0.0, share)) * steps)
        kept = self.collected.norms
        kept.setdefault(STEPS, {})[client] = steps
        for name, norm in norms.items():
            if isfinite(norm):  # the sum refuses other values, with a better message
                kept.setdefault(name, {})[client] = norm
        for name, norm in norms.items():
            self._bound.check(name, norm, steps)

    def _opened(self, client: str, message: Message | Reply) -> Reply:
        """The unpacked reply, measured and checked."""
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


def _not_needed(values: Vector) -> float:
    return inf


def _tensors(layout: Layout, size: int) -> Sequence[Tensor]:
    """The tensors that `size` values belong to, if that is the size of a part of the model."""
    if size == layout.dimension:
        return layout.parameters
    return layout.buffers if size == layout.buffer_size else ()


def _named(error: OutOfRange, tensors: Sequence[Tensor]) -> PayloadError:
    """The error with the name of the tensor whose value is out of range, if it is known."""
    end = 0
    for tensor in tensors:
        end += tensor.size
        if error.position < end:
            return PayloadError(f"in {tensor.name!r} {error}")
    return error


class Start(Protocol):
    """Makes the collectors of a run's rounds: `start(round, clients, ...)`.

    Two are equal if they make the same collectors, so a process that has one can
    tell whether it is the requested one.
    """

    @property
    def strategy(self) -> Strategy:
        """The strategy of the run."""

    @property
    def layout(self) -> Layout:
        """The layout of the model."""

    @property
    def seed(self) -> int:
        """The seed of the run."""

    def __call__(self, round: int, clients: int, *bounds: Any) -> Any:
        """A collector for one round of a cohort of `clients` clients."""


@final
@dataclass(frozen=True)
class StartCollector:
    """Makes collectors that see each reply; they sum encoded values if the pipeline allows it."""

    strategy: Strategy
    layout: Layout
    seed: int

    def __call__(
        self, round: int, clients: int, medians: Mapping[str, float] | None = None, *bounds: Any
    ) -> Collector:
        """A collector for one round of a cohort of `clients` clients; `medians` bound their norms."""
        strategy = self.strategy
        on_sum = strategy.pipeline.summable and strategy.aggregate.linear and strategy.max_norm is None
        bound = NormBound(strategy.norm_bound, medians or {})
        return Collector(self, round, clients, OnSum() if on_sum else Each(), bound)
