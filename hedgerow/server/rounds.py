"""The training loop, as a generator of what happened in each round."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid

from hedgerow import records
from hedgerow.server.exchange import exchange
from hedgerow.server.roster import Roster
from hedgerow.strategies.aggregation import FixedPointMean
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.transform import check_payload, decode
from hedgerow.types import (
    Layout,
    Model,
    Payload,
    PayloadError,
    RoundContext,
    RoundResult,
    ServerState,
    Vector,
)

Evaluate = Callable[[Model], Mapping[str, float]]


def begin(strategy: Strategy, model: Model) -> ServerState:
    """The server's state before the first round."""
    return ServerState(0, model, strategy.server_update.init(len(model.parameters)))


def rounds(
    grid: Grid,
    strategy: Strategy,
    state: ServerState,
    layout: Layout,
    *,
    num_rounds: int,
    seed: int = 0,
    roster: Roster | None = None,
    evaluate: Evaluate | None = None,
    evaluate_every: int = 1,
    timeout: float | None = None,
) -> Iterator[RoundResult]:
    """Run rounds `state.round + 1` to `num_rounds` and yield the result of each.

    The caller's `for` statement is the place to save, to print, or to stop
    early. Nothing here knows where the clients run: `grid` is Flower's.

    Args:
        grid: any Flower grid: in-process, Ray, or a real federation's.
        strategy: what is computed; the clients must have been given the same.
        state: from `begin`, or from a checkpoint.
        layout: of the model.
        num_rounds: number of the last round.
        seed: of the run; same seed, same run.
        roster: who is there; a new one by default.
        evaluate: measures the global model after a round.
        evaluate_every: measures it after every so many rounds, and the last.
        timeout: seconds a cohort has for its replies; `None` waits for ever.

    A reply that is malformed, stale, not finite or over its bound is dropped
    and named in `RoundResult.dropped`; it never ends a run. Under the
    strategy's quorum the round is `failed` and the model stays as it was.
    """
    roster = roster or Roster()
    while state.round < num_rounds:
        started = time.monotonic()
        number = state.round + 1
        roster.refresh(grid)
        cohort = strategy.sampling.choose(roster.names, seed, number) if roster.names else ()
        collected = _collect(grid, roster, strategy, state, layout, cohort, seed, timeout)
        state, failed = _update(strategy, state, collected, layout, seed)
        due = evaluate is not None and (number % evaluate_every == 0 or number == num_rounds)
        evaluation = dict(evaluate(state.model)) if evaluate is not None and due else {}
        yield RoundResult(
            state=state,
            cohort=cohort,
            dropped=dict(sorted(collected.dropped.items())),
            failed=failed,
            bytes_up=dict(sorted(collected.bytes_up.items())),
            bytes_down=dict(sorted(collected.bytes_down.items())),
            metrics=collected.means(),
            evaluation=evaluation,
            seconds=time.monotonic() - started,
        )


@dataclass
class _Collected:
    """The replies of one round, summed as they arrive."""

    cohort: int
    deltas: "_Deltas"
    buffers: FixedPointMean
    metrics: dict[str, dict[str, tuple[int, float]]] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    bytes_up: dict[str, int] = field(default_factory=dict)
    bytes_down: dict[str, int] = field(default_factory=dict)
    counted: int = 0

    def means(self) -> dict[str, float]:
        """Each metric's mean over the clients that sent it, weighted by examples."""
        means = {}
        for name, by_client in sorted(self.metrics.items()):
            # Sorted by client, so that arrival order does not show in the last bit.
            pairs = [by_client[client] for client in sorted(by_client)]
            means[name] = sum(n * value for n, value in pairs) / sum(n for n, _ in pairs)
        return means


class _Deltas:
    """Aggregates payloads: decodes the sum once where the pipeline allows it, else each."""

    def __init__(self, strategy: Strategy, layout: Layout, clients: int) -> None:
        self._strategy, self._layout = strategy, layout
        self._on_sum = strategy.pipeline.summable and strategy.aggregate.linear and strategy.max_norm is None
        size = strategy.pipeline.length(layout.dimension) if self._on_sum else layout.dimension
        self._accumulator = strategy.aggregate.start(size, max(1, clients))

    def add(self, payload: Payload, where: RoundContext) -> None:
        """Count a payload in; raises `PayloadError` and stays as it was where it does not fit."""
        if self._on_sum:
            check_payload(self._strategy.pipeline, payload, where)
            self._accumulator.add(payload.values, payload.weight)
            return
        delta = decode(self._strategy.pipeline, payload, where)
        bound = self._strategy.max_norm
        if bound is not None and not (norm := float(np.linalg.norm(delta.astype(np.float64)))) <= bound:
            raise PayloadError(f"the norm of its delta is {norm:.4g}; at most {bound:g} is allowed")
        self._accumulator.add(delta, payload.weight)

    def result(self, where: RoundContext) -> Vector:
        values = self._accumulator.result()
        if self._on_sum:
            return decode(self._strategy.pipeline, Payload({"values": values}), where)
        return values


def _collect(
    grid: Grid,
    roster: Roster,
    strategy: Strategy,
    state: ServerState,
    layout: Layout,
    cohort: tuple[str, ...],
    seed: int,
    timeout: float | None,
) -> _Collected:
    number = state.round + 1
    collected = _Collected(
        len(cohort),
        _Deltas(strategy, layout, len(cohort)),
        FixedPointMean(layout.buffer_size, max(1, len(cohort))),
    )
    if not cohort:
        return collected
    content = records.pack_train(state.model, layout, round=number, seed=seed)
    size = records.measure(content)
    collected.bytes_down = dict.fromkeys(cohort, size)
    clients = {roster.node(name): name for name in cohort}
    messages = [
        Message(content, dst_node_id=node, message_type="train", group_id=str(number)) for node in clients
    ]
    for node, message in exchange(grid, messages, timeout):
        name = clients[node]
        try:
            _count_in(collected, strategy, layout, message, RoundContext(seed, number, name, layout))
        except PayloadError as error:
            collected.dropped[name] = str(error)
        except (
            Exception
        ) as error:  # a plug-in's decode met bytes it did not expect: the client's fault, not the run's
            collected.dropped[name] = f"its reply cannot be decoded: {type(error).__name__}: {error}"
    return collected


def _count_in(
    collected: _Collected, strategy: Strategy, layout: Layout, message: Message | None, where: RoundContext
) -> None:
    if message is None:
        raise PayloadError("it did not reply in time")
    if message.has_error():
        raise PayloadError(f"it failed: {_reason(message.error.reason)}")
    collected.bytes_up[where.client] = records.measure(message.content)
    reply = records.unpack_reply(
        message.content, layout, round=where.round, client=where.client, max_weight=strategy.max_weight
    )
    # Buffers first into a trial: both are counted, or neither.
    collected.buffers.check(reply.buffers, reply.payload.weight)
    collected.deltas.add(reply.payload, where)
    collected.buffers.add(reply.buffers, reply.payload.weight)
    for name, value in reply.metrics.items():
        collected.metrics.setdefault(name, {})[where.client] = (reply.num_examples, value)
    collected.counted += 1


def _update(
    strategy: Strategy, state: ServerState, collected: _Collected, layout: Layout, seed: int
) -> tuple[ServerState, str]:
    number = state.round + 1
    unchanged = ServerState(number, state.model, state.update)
    if collected.cohort == 0:
        return unchanged, "no client is connected"
    needed = max(1, int(np.ceil(strategy.quorum * collected.cohort - 1e-9)))
    if collected.counted < needed:
        return unchanged, f"{collected.counted} of {collected.cohort} clients count; {needed} are needed"
    delta = collected.deltas.result(RoundContext(seed, number, "", layout))
    parameters, update = strategy.server_update.apply(state.model.parameters, delta, state.update)
    if not np.isfinite(parameters).all():
        return unchanged, "the new model would not be finite; the server's learning rate may be too large"
    buffers = collected.buffers.result() if layout.buffer_size else state.model.buffers
    return ServerState(number, Model(parameters, buffers), update), ""


def _reason(text: str | None) -> str:
    """What a client's error reply says; Flower writes `<class 'E'>:<'text'>`."""
    text = (text or "").strip() or "no reason given"
    if raised := re.fullmatch(r"<class '(?:\w+\.)*(\w+)'>:<'(.*)'>", text, re.DOTALL):
        text = f"{raised[1]}: {raised[2]}"
    return text[:500]
