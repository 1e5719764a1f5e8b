"""The training loop, as a generator of each round's result."""

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
from hedgerow.server.arguments import check_grid, check_parts, check_run, check_sizes
from hedgerow.server.asking import ask, check_asking
from hedgerow.server.broadcast import BASE, Broadcasts, begin_downlink
from hedgerow.server.ending import Ending, Evaluate, Gathered
from hedgerow.server.evaluation import EvaluationPlan, check_plan
from hedgerow.server.exchange import KeepsTime
from hedgerow.server.failures import Failures
from hedgerow.server.kinds import kind_of, measures_of
from hedgerow.server.private import begin_private
from hedgerow.server.roster import Roster
from hedgerow.spans import span
from hedgerow.strategies import streams
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Arrays, Layout, Model, RoundResult, RunOptions, ServerState
from hedgerow.types.options import OnGrid, options_for
from hedgerow.types.recording import Recording

log = logging.getLogger("hedgerow")


@checks.arguments
def begin(strategy: Strategy, model: Model, layout: Layout) -> ServerState:
    """The server's state before the first round, without the strategy's personal layers.

    Raises:
        ValueError: an argument has the wrong type, the model does not have this layout, or the
            strategy's personal layers do not fit it.
    """
    check_parts(strategy, layout)
    checks.kind(Model, ", such as trainer.initial(seed)", model=model)
    check_sizes(model, layout, "model")
    split = strategy.split(layout)
    return _fresh(strategy, split.shared_part(model), split.shared)


def _fresh(strategy: Strategy, model: Model, layout: Layout) -> ServerState:
    """The state before the first round, from the shared part of the model."""
    d = layout.dimension
    return ServerState(
        0,
        model,
        strategy.server_update.init(d),
        streams.begin(strategy.streams, layout),
        aggregate=streams.begin_rules(strategy, layout),
        private=begin_private(strategy, d),
        downlink=begin_downlink(strategy.downlink, model.parameters),
    )


@checks.arguments
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
    ledger: Ledger | None = None,
    client_evaluation: EvaluationPlan | None = None,
    record: Callable[[Recording], None] | None = None,
    options: RunOptions | None = None,
    **changes: Unpack[OnGrid],
) -> Iterator[RoundResult]:
    """Run rounds `state.round + 1` to `num_rounds` and yield the result of each.

    The caller's `for` loop is the place to save, to print, or to stop early.
    Nothing here depends on where the clients run: `grid` is Flower's.

    Args:
        grid: any Flower grid: in-process, Ray, or a real federation's.
        strategy: what is computed; the clients must have been given the same.
        state: from `begin`, or from a checkpoint.
        layout: of the model, including the strategy's personal layers.
        num_rounds: number of the last round.
        seed: of the run; same seed, same run.
        roster: the available clients; a new roster by default.
        evaluate: evaluates the global model, without personal layers, after a round.
        evaluate_every: rounds from one evaluation to the next; the last round is always evaluated.
        ledger: of a private strategy; one in memory by default.
        client_evaluation: which clients evaluate the model after a round, on
            their held-out samples, and when; `None` for none.
        record: called with the input of each round's server step, before the step is made.
        options: how the run is executed; see `RunOptions`.
        **changes: `timeout`, `register`, `deployment`, `over_select`, `retry`, `quorum`, `set_aside` and
            `joined`, which override those of `options`. By default the deployment is real: a private
            strategy's noise and cohorts come from the operating system's generator, and no two runs are
            the same.

    The rounds of a private strategy end before its budget would be exceeded.

    A reply that is malformed, stale, not finite or over its bound is dropped
    and named in `RoundResult.dropped`; it never ends a run. Below the
    strategy's quorum, the round is `failed` and the model stays as it was.

    If every client fails in the same way, for instance because the model does not
    fit the data, the run stops; see `Failures`. A private run does not.

    Raises:
        EveryClientFailed: the run cannot succeed; the error quotes the first client.
        ValueError: an argument has the wrong type or is out of range; the state belongs to a
            strategy that keeps other arrays; its personal layers do not fit the model; clients would
            report what the strategy protects; or an option is set that has no meaning on a grid.
    """
    chosen = options_for("rounds", OnGrid, options, changes)
    check_parts(strategy, layout)
    check_grid(grid)
    check_run(num_rounds, seed, evaluate=evaluate, evaluate_every=evaluate_every)
    checks.kind(ServerState, ", such as begin(strategy, model, layout)", state=state)
    checks.kind((Roster, NoneType), roster=roster)
    checks.kind((Ledger, NoneType), ledger=ledger)
    checks.kind((EvaluationPlan, NoneType), client_evaluation=client_evaluation)
    checks.kind((Callable, NoneType), " of a Recording", record=record)
    return loop(
        grid, strategy, state, layout, chosen,
        num_rounds=num_rounds, seed=seed, roster=roster or Roster(chosen.joined), evaluate=evaluate,
        evaluate_every=evaluate_every, ledger=ledger, client_evaluation=client_evaluation, record=record,
        broadcasts=Broadcasts(strategy.downlink),
    )  # fmt: skip


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
    """`rounds` with options that have been checked; `folder` is the run's."""
    layout = strategy.split(layout).shared
    refuse_other_state(strategy, state, layout)
    check_plan(client_evaluation, strategy)
    check_asking(strategy, options)
    failures = Failures()
    kind = kind_of(
        strategy, grid, layout, state, options, broadcasts,
        seed=seed, ledger=ledger, keep=record is not None, folder=folder,
    )  # fmt: skip
    measures = None
    if client_evaluation is not None:
        measures = measures_of(
            client_evaluation, strategy, grid, layout, options, broadcasts, seed=seed, folder=folder
        )
    if isinstance(grid, KeepsTime):
        grid.resume(state.clock)
    # With noise, who is asked must not depend on the clients' answers: epsilon does not account for that.
    ending = Ending(
        strategy, grid, num_rounds, evaluate, evaluate_every, client_evaluation, measures, record,
        options.set_aside if kind.shows_replies else 0, folder, broadcasts, layout, seed,
    )  # fmt: skip
    while state.round < num_rounds:
        started = time.monotonic()
        if why := kind.exhausted(state):
            log.warning("the run ends after round %d of %d: %s", state.round, num_rounds, why)
            return
        left_out = ending.left_out(state)
        asked = ask(kind, strategy, state, roster, grid, options, left_out)
        outcome, replies = asked.outcome, asked.outcome.replies
        # Devices may rightly refuse to answer a round twice, and still answer the next one.
        if kind.shows_replies and not asked.announced:
            failures.after(state.round + 1, asked.cohort, replies.dropped, replies.counted, len(roster.names))
        with span("aggregate"):
            found = outcome.aggregated(state)
        gathered = Gathered(
            asked.cohort, replies, found, partial(outcome.recorded, state.round + 1, found),
            asked.bytes_up, asked.bytes_down, started, roster.there, asked.announced,
            kind.secure, kind.epsilon,
        )  # fmt: skip
        result = ending.ended(state, gathered, left_out)
        state = result.state
        yield result


def refuse_other_state(strategy: Strategy, state: ServerState, layout: Layout) -> None:
    """Refuse a state that another strategy has produced."""
    check_sizes(state.model, layout, "model")
    fresh = _fresh(strategy, state.model, layout)
    for what, wanted, found in (
        ("the server update", fresh.update, state.update),
        ("the aggregate", fresh.aggregate, state.aggregate),
        ("the streams", fresh.streams, state.streams),
        ("the downlink", _base(fresh.downlink), _base(state.downlink)),
    ):
        if wanted.keys() != found.keys():
            kept, has = (", ".join(sorted(names)) or "nothing" for names in (wanted, found))
            raise ValueError(
                f"this state holds {has} of {what}, but {strategy.name} keeps {kept}; continue with the"
                " strategy it was started with, or start again"
            )


def _base(downlink: Arrays) -> Arrays:
    """The part of a downlink's state that it has from the first round on."""
    return {name: values for name, values in downlink.items() if name == BASE}
