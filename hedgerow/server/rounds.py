"""The training loop, as a generator of what happened in each round."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from hedgerow import records
from hedgerow.server.collect import Collector, Reduces, StartCollector
from hedgerow.server.exchange import exchange
from hedgerow.server.privacy import Ledger, PrivateRounds, begin_private
from hedgerow.server.roster import Roster
from hedgerow.spans import span
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Layout, Model, RoundResult, ServerState

log = logging.getLogger("hedgerow")

Evaluate = Callable[[Model], Mapping[str, float]]


def begin(strategy: Strategy, model: Model) -> ServerState:
    """The server's state before the first round."""
    d = len(model.parameters)
    return ServerState(0, model, strategy.server_update.init(d), begin_private(strategy, d))


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
    ledger: Ledger | None = None,
    seeded_noise: bool = False,
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
        ledger: of a private strategy; one in memory by default.
        seeded_noise: the seed decides a private strategy's noise and cohorts:
            for simulations only. Else the operating system's generator does,
            and no two runs are alike.

    A private strategy's rounds end before its budget would be passed.

    A reply that is malformed, stale, not finite or over its bound is dropped
    and named in `RoundResult.dropped`; it never ends a run. Under the
    strategy's quorum the round is `failed` and the model stays as it was.
    """
    roster = roster or Roster()
    start = StartCollector(strategy, layout, seed)
    private = None
    if strategy.budget is not None:
        private = PrivateRounds(strategy, seed, ledger or Ledger(strategy.budget), seeded_noise)
        private.check(layout, state)
    while state.round < num_rounds:
        started = time.monotonic()
        number = state.round + 1
        if private is not None and (why := private.exhausted(state)):
            log.warning("the run ends after round %d of %d: %s", state.round, num_rounds, why)
            return
        roster.refresh(grid)
        sampling_seed = seed if private is None else private.sampling_seed
        cohort = strategy.sampling.choose(roster.names, sampling_seed, number) if roster.names else ()
        asked = [(name, roster.node(name)) for name in cohort]
        with span("records"):
            content = records.pack_train(state.model, layout, round=number, seed=seed)
        arguments = (number, len(asked), math.inf if private is None else private.clip_norm(state))
        collector = start(*arguments)
        if asked:
            _collect(grid, asked, content, start, collector, arguments, timeout=timeout)
        with span("aggregate"):
            if private is not None and roster.names:
                state, failed = private.update(state, collector)
            else:
                state, failed = _update(strategy, state, collector, len(cohort))
        due = evaluate is not None and (number % evaluate_every == 0 or number == num_rounds)
        with span("evaluate"):
            evaluation = dict(evaluate(state.model)) if evaluate is not None and due else {}
        collected = collector.collected
        yield RoundResult(
            state=state,
            cohort=cohort,
            dropped=dict(sorted(collected.dropped.items())),
            failed=failed,
            bytes_up=dict(sorted(collected.bytes_up.items())),
            bytes_down=dict.fromkeys(cohort, records.measure(content)),
            metrics=collected.means(),
            evaluation=evaluation,
            seconds=time.monotonic() - started,
            epsilon=None if private is None else private.ledger.epsilon,
        )


def _collect(
    grid: Grid,
    asked: Sequence[tuple[str, int]],
    content: RecordDict,
    start: StartCollector,
    collector: Collector,
    arguments: tuple[int, int, float],
    *,
    timeout: float | None,
) -> None:
    """Ask the clients for their part of a round, and count what they reply into the collector."""
    group = str(arguments[0])
    if isinstance(grid, Reduces):
        parts = grid.reduce(
            start, arguments, asked, content,
            message_type="train", group_id=group, timeout=timeout,
        )  # fmt: skip
        for part in parts:
            with span("aggregate"):
                collector.collected.merge(part)
        return
    clients = {node: name for name, node in asked}
    messages = [Message(content, dst_node_id=node, message_type="train", group_id=group) for node in clients]
    for node, message in exchange(grid, messages, timeout):
        collector.add(clients[node], message)


def _update(
    strategy: Strategy, state: ServerState, collector: Collector, clients: int
) -> tuple[ServerState, str]:
    unchanged = ServerState(state.round + 1, state.model, state.update, state.private)
    if clients == 0:
        return unchanged, "no client is connected"
    collected = collector.collected
    needed = max(1, int(np.ceil(strategy.quorum * clients - 1e-9)))
    if collected.counted < needed:
        return unchanged, f"{collected.counted} of {clients} clients count; {needed} are needed"
    parameters, update = strategy.server_update.apply(state.model.parameters, collector.delta(), state.update)
    if not np.isfinite(parameters).all():
        return unchanged, "the new model would not be finite; the server's learning rate may be too large"
    buffers = collected.buffers.result() if len(state.model.buffers) else state.model.buffers
    return ServerState(state.round + 1, Model(parameters, buffers), update, state.private), ""
