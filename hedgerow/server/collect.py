"""The replies of a round, summed as they arrive, in one place or in several."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Protocol, runtime_checkable

import numpy as np
from flwr.app import Message, RecordDict
from numpy.typing import NDArray

from hedgerow import record_sizes, records
from hedgerow.server.masked import MaskedCollector
from hedgerow.server.replies import NO_REPLY, failure
from hedgerow.spans import span
from hedgerow.strategies.aggregates.mean import Accumulator, FixedPointMean
from hedgerow.strategies.pipeline.coding import check_payload, decode
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Layout, Payload, PayloadError, RoundContext, Vector


@dataclass
class Collected:
    """What has been made of some of a round's replies; small enough to be sent between processes.

    Attributes:
        deltas: of the clients that count, added up.
        buffers: of the same clients.
        controls: changes of their control variates, each counted once.
        metrics: `{metric: {client: (examples, value)}}`.
        dropped: `{client: reason}`.
        bytes_up: `{client: bytes}` of each reply that arrived.
        counted: clients that count.
        failed: why they cannot count, whatever they replied.
    """

    deltas: Accumulator
    buffers: FixedPointMean
    controls: FixedPointMean
    metrics: dict[str, dict[str, tuple[int, float]]] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    bytes_up: dict[str, int] = field(default_factory=dict)
    counted: int = 0
    failed: str = ""

    def merge(self, other: "Collected") -> None:
        """Add what was made of other replies of the round; in whatever order, the result is the same."""
        if not (other.counted or other.dropped):
            return
        self.deltas.merge(other.deltas)
        self.buffers.merge(other.buffers)
        self.controls.merge(other.controls)
        for name, by_client in other.metrics.items():
            self.metrics.setdefault(name, {}).update(by_client)
        self.dropped.update(other.dropped)
        self.bytes_up.update(other.bytes_up)
        self.counted += other.counted

    def means(self) -> dict[str, float]:
        """Each metric's mean over the clients that sent it, weighted by examples."""
        means = {}
        for name, by_client in sorted(self.metrics.items()):
            # Sorted by client, so that arrival order does not show in the last bit.
            pairs = [by_client[client] for client in sorted(by_client)]
            means[name] = sum(n * value for n, value in pairs) / sum(n for n, _ in pairs)
        return means

    def mean_buffers(self) -> Vector:
        """The weighted mean of the buffers, `(b,) float32`."""
        return self.buffers.result()


class Collector:
    """Checks the replies of one round and counts them into `collected`.

    Args:
        seed: of the run.
        round: number of the round.
        clients: size of the whole cohort, also where others count in a part of it.
        clip_norm: of a private strategy, the l2 bound of what a client adds.
    """

    def __init__(
        self, strategy: Strategy, layout: Layout, seed: int, round: int, clients: int, clip_norm: float
    ) -> None:
        self._strategy, self._layout, self._seed, self._round = strategy, layout, seed, round
        self._release, self._clip_norm = strategy.release if strategy.private else None, clip_norm
        # Decoded once, on the sum, where the pipeline allows it and each is not bounded here.
        self._on_sum = (
            strategy.pipeline.summable
            and strategy.aggregate.linear
            and strategy.max_norm is None
            and self._release is None
        )
        size = strategy.pipeline.length(layout.dimension) if self._on_sum else layout.dimension
        size += self._release.extra if self._release else 0
        self.collected = Collected(
            strategy.aggregate.start(size, max(1, clients)),
            FixedPointMean(layout.buffer_size, max(1, clients)),
            FixedPointMean(layout.dimension if strategy.control_variates else 0, max(1, clients)),
        )

    def add(self, client: str, reply: Message | records.Reply | None) -> None:
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

    def delta(self) -> Vector:
        """The aggregate `(d,) float32` of what was counted in."""
        values = self.collected.deltas.result()
        if self._on_sum:
            return decode(self._strategy.pipeline, Payload({"values": values}), self._context(""))
        return values

    def total(self) -> NDArray[np.int64]:
        """The sum of what was counted in, `(d + extra,)` in multiples of 2**-36; of a private strategy."""
        deltas = self.collected.deltas
        assert isinstance(deltas, FixedPointMean)
        return deltas.fixed

    def _count_in(self, client: str, message: Message | records.Reply | None) -> None:
        if message is None:
            raise PayloadError(NO_REPLY)
        collected = self.collected
        with span("records"):
            reply = self._opened(client, message)
        with span("aggregate"):
            # The others first into a trial: all are counted, or none.
            others = (
                (collected.buffers, reply.buffers, reply.payload.weight),
                (collected.controls, reply.control, 1.0),
            )
            present = [other for other in others if other[1].size]
            for total, values, weight in present:
                total.check(values, weight)
            self._add(reply.payload, self._context(client))
            for total, values, weight in present:
                total.add(values, weight)
        # A mean of the clients' metrics would be a release without noise.
        for name, value in reply.metrics.items() if self._release is None else ():
            collected.metrics.setdefault(name, {})[client] = (reply.num_examples, value)
        collected.counted += 1

    def _opened(self, client: str, message: Message | records.Reply) -> records.Reply:
        """A reply, measured and checked."""
        strategy, sizes = self._strategy, self.collected.bytes_up
        max_weight, control = strategy.max_weight, strategy.control_variates
        if isinstance(message, records.Reply):
            sizes[client] = records.measure_reply(message, round=self._round, client=client)
            return records.checked_reply(message, self._layout, max_weight=max_weight, control=control)
        if message.has_error():
            raise PayloadError(failure(message.error))
        sizes[client] = record_sizes.measure(message.content)
        return records.unpack_reply(
            message.content, self._layout,
            round=self._round, client=client, max_weight=max_weight, control=control,
        )  # fmt: skip

    def _add(self, payload: Payload, where: RoundContext) -> None:
        """Count a payload in; raises `PayloadError` and stays as it was where it does not fit."""
        deltas, pipeline = self.collected.deltas, self._strategy.pipeline
        if self._on_sum:
            check_payload(pipeline, payload, where, finite=not isinstance(deltas, FixedPointMean))
            deltas.add(payload.values, payload.weight)
            return
        delta = decode(pipeline, payload, where)
        bound = self._strategy.max_norm
        if bound is not None and not (norm := float(np.linalg.norm(delta.astype(np.float64)))) <= bound:
            raise PayloadError(f"the norm of its delta is {norm:.4g}; at most {bound:g} is allowed")
        if self._release is not None:
            delta = self._release.contribution(delta, self._clip_norm)
        deltas.add(delta, payload.weight)

    def _context(self, client: str) -> RoundContext:
        return RoundContext(self._seed, self._round, client, self._layout)


@dataclass(frozen=True)
class StartCollector:
    """Makes the collectors of a run's rounds: `start(round, clients, clip_norm)`.

    Two are equal where they would make the same ones, so that processes that
    have one know whether it is the one that is asked for.
    """

    strategy: Strategy
    layout: Layout
    seed: int

    def __call__(self, round: int, clients: int, clip_norm: float = inf) -> Collector | MaskedCollector:
        """A collector for one round of a cohort of so many clients."""
        if self.strategy.pipeline.only_sum:
            return MaskedCollector(self.strategy, self.layout, self.seed, round, clients)
        return Collector(self.strategy, self.layout, self.seed, round, clients, clip_norm)


@runtime_checkable
class Reduces(Protocol):
    """A grid that counts replies in where they are made, as the simulation's can.

    Only sums then travel and lie in memory, not one reply a client. What comes
    out is the same as with one collector for all.
    """

    def reduce(
        self,
        start: StartCollector,
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
