"""Asynchronous training, as a generator of each step's result: replies count as they arrive."""

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Unpack

from flwr.serverapp import Grid

from hedgerow import checks
from hedgerow.privacy.ledger import Ledger
from hedgerow.server.arguments import check_grid, check_parts, check_run
from hedgerow.server.broadcast import Broadcasts
from hedgerow.server.buffer import Buffer
from hedgerow.server.collector import StartCollector
from hedgerow.server.desk import Desk
from hedgerow.server.ending import Ending, Evaluate, Gathered
from hedgerow.server.evaluation import EvaluationPlan, check_plan
from hedgerow.server.exchange import KeepsTime
from hedgerow.server.failures import Failures
from hedgerow.server.kinds import measures_of
from hedgerow.server.recording import StartKeeping
from hedgerow.server.roster import Roster
from hedgerow.server.rounds import refuse_other_state
from hedgerow.spans import span
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Layout, RoundResult, RunOptions, ServerState
from hedgerow.types.options import OnGrid, options_for
from hedgerow.types.recording import Recording

log = logging.getLogger("hedgerow")

_PATIENCE = 3
"""A step fails after so many times the buffer and the clients at work, if their replies do not count."""


@checks.arguments
def arrivals(
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
    client_evaluation: EvaluationPlan | None = None,
    record: Callable[[Recording], None] | None = None,
    options: RunOptions | None = None,
    **changes: Unpack[OnGrid],
) -> Iterator[RoundResult]:
    """Make the server's steps `state.round + 1` to `num_rounds`, each as soon as its buffer is full.

    Beside `rounds`, with the same `step`: clients are asked one by one, as many at a time as the strategy's
    sampling has, each with the newest model. A reply counts by its staleness, `Strategy.arrivals`. In a
    `RoundResult`, the cohort is those whose replies the step has taken; `staleness` says how old each was.

    A client that has answered is not asked again before the next step, so each step has a client once. If
    nobody else can be asked, the step is made with what is there. `timeout` is what each client has for its
    reply, after which another one is asked.

    The arguments and errors are those of `rounds`; the strategy is `fedbuff` or `fedasync`.

    Raises:
        ValueError: the strategy waits for cohorts; an option is about cohorts; or the server is to mix in
            models that have buffers.
    """
    chosen = options_for("arrivals", OnGrid, options, changes)
    check_parts(strategy, layout)
    check_grid(grid)
    check_run(num_rounds, seed, evaluate=evaluate, evaluate_every=evaluate_every)
    checks.kind(ServerState, ", such as begin(strategy, model, layout)", state=state)
    checks.kind((Roster, NoneType), roster=roster)
    checks.kind((EvaluationPlan, NoneType), client_evaluation=client_evaluation)
    checks.kind((Callable, NoneType), " of a Recording", record=record)
    return loop(
        grid, strategy, state, layout, chosen,
        num_rounds=num_rounds, seed=seed, roster=roster or Roster(chosen.joined), evaluate=evaluate,
        evaluate_every=evaluate_every, ledger=None, client_evaluation=client_evaluation, record=record,
        broadcasts=Broadcasts(),
    )  # fmt: skip


def check_arrivals(strategy: Strategy, layout: Layout, options: RunOptions) -> None:
    """Raise `ValueError` if replies cannot count as they arrive: by strategy, model or options."""
    if strategy.arrivals is None:
        raise ValueError(f"{strategy.name} waits for a cohort; train with rounds(...), or take fedbuff")
    if strategy.arrivals.models and layout.buffer_size:
        raise ValueError(
            f"{strategy.name} mixes in clients' models, and this one has buffers, such as BatchNorm's, which"
            " stale models would replace; use fedbuff, or a model with GroupNorm"
        )
    for name in ("over_select", "retry", "quorum"):
        if (value := getattr(options, name)) != (usual := getattr(RunOptions(), name)):
            raise ValueError(
                f"{name} is {value:g}; it must be {usual:g}: {strategy.name} has no cohort, it asks another"
                " client whenever one has answered"
            )


def loop(
    grid: Grid,
    strategy: Strategy,
    state: ServerState,
    layout: Layout,
    options: RunOptions,
    *,
    num_rounds: int,
    seed: int,
    roster: Roster,
    evaluate: Evaluate | None,
    evaluate_every: int,
    ledger: Ledger | None,
    client_evaluation: EvaluationPlan | None,
    record: Callable[[Recording], None] | None,
    broadcasts: Broadcasts,
    folder: Path | None = None,
) -> Iterator[RoundResult]:
    """`arrivals` with options that have been checked; `folder` is the run's. There is no ledger to keep."""
    layout = strategy.split(layout).shared
    check_arrivals(strategy, layout, options)
    refuse_other_state(strategy, state, layout)
    check_plan(client_evaluation, strategy)
    measures = None
    if client_evaluation is not None:
        measures = measures_of(
            client_evaluation, strategy, grid, layout, options, broadcasts, seed=seed, folder=folder
        )
    if isinstance(grid, KeepsTime):
        grid.resume(state.clock)
    ending = Ending(
        strategy, grid, num_rounds, evaluate, evaluate_every, client_evaluation, measures, record,
        options.set_aside, folder, broadcasts, layout, seed,
    )  # fmt: skip
    failures, start = Failures(), StartKeeping(StartCollector(strategy, layout, seed))
    desk = Desk(grid, strategy, layout, broadcasts, seed=seed, timeout=options.timeout)
    desk.resume(state, roster)
    while state.round < num_rounds:
        started, left_out = time.monotonic(), ending.left_out(state)
        buffer = Buffer(start, state, keep=record is not None)
        _collect(desk, buffer, state, roster, left_out)
        replies, clients = buffer.collected, len(roster.names)
        cohort = tuple(sorted(buffer.versions))
        failures.after(state.round + 1, cohort, replies.dropped, replies.counted, clients)
        with span("aggregate"):
            found = buffer.aggregated(clients)
        gathered = Gathered(
            cohort, replies, found, partial(buffer.recorded, clients, found),
            replies.bytes_up, dict(sorted(buffer.bytes_down.items())), started, roster.there,
            staleness=buffer.staleness,
        )  # fmt: skip
        result = ending.ended(state, gathered, left_out, desk.kept)
        state = result.state
        yield result


def _collect(
    desk: Desk, buffer: Buffer, state: ServerState, roster: Roster, left_out: frozenset[str]
) -> None:
    """Fill the buffer, or stop when nobody else can be asked, or too few replies count."""
    while buffer.collected.counted < buffer.size:
        desk.fill(state, roster, left_out | buffer.versions.keys())
        arrived = desk.arrives()
        if arrived is None:
            return
        flight, reply, down = arrived
        buffer.add(flight.client, flight.version, reply, down)
        if len(buffer.collected.dropped) >= _PATIENCE * (buffer.size + desk.most):
            return
