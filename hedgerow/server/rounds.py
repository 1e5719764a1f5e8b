"""The training loop, as a generator of what happened in each round."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping

from flwr.serverapp import Grid

from hedgerow.privacy.ledger import Ledger
from hedgerow.server.kinds import kind_of
from hedgerow.server.private import begin_private
from hedgerow.server.roster import Roster
from hedgerow.server.round_kind import Cohort
from hedgerow.server.step import step
from hedgerow.spans import span
from hedgerow.strategies import streams
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Layout, Model, RoundResult, ServerState

log = logging.getLogger("hedgerow")

Evaluate = Callable[[Model], Mapping[str, float]]


def begin(strategy: Strategy, model: Model, layout: Layout) -> ServerState:
    """The server's state before the first round; of a strategy with personal layers, without them."""
    split = strategy.split(layout)
    model, layout = split.shared_part(model), split.shared
    d = layout.dimension
    return ServerState(
        0,
        model,
        strategy.server_update.init(d),
        streams.begin(strategy.streams, layout),
        aggregate=strategy.aggregate.init(d),
        private=begin_private(strategy, d),
    )


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
    masks: bool = True,
    register: Mapping[str, bytes] | None = None,
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
        layout: of the model, with personal layers where the strategy has some.
        num_rounds: number of the last round.
        seed: of the run; same seed, same run.
        roster: who is there; a new one by default.
        evaluate: measures the global model after a round; it has no personal layers.
        evaluate_every: measures it after every so many rounds, and the last.
        timeout: seconds a cohort has for its replies, in each stage of a secure
            aggregation; `None` waits for ever.
        masks: run the whole protocol where the pipeline masks. Without, the
            same sum is computed in the clear: only simulated clients do that.
        register: identity keys of clients, pinned by the server too.
        ledger: of a private strategy; one in memory by default.
        seeded_noise: the seed decides a private strategy's noise and cohorts:
            for simulations only. Else the operating system's generator does,
            and no two runs are alike.

    A private strategy's rounds end before its budget would be passed.

    A reply that is malformed, stale, not finite or over its bound is dropped
    and named in `RoundResult.dropped`; it never ends a run. Under the
    strategy's quorum the round is `failed` and the model stays as it was.

    Raises:
        ValueError: the state has other streams than the strategy, such as
            control variates; or its personal layers do not fit the model.
    """
    layout = strategy.split(layout).shared
    wanted = streams.begin(strategy.streams, layout)
    if state.streams.keys() != wanted.keys():
        raise ValueError(
            f"the state has the streams {sorted(state.streams)}, and the strategy {strategy.name} has"
            f" {sorted(wanted)}; go on with the strategy it was begun with, or begin anew"
        )
    roster = roster or Roster()
    kind = kind_of(
        strategy, grid, layout, state, seed=seed, timeout=timeout, masks=masks, register=register,
        ledger=ledger, seeded_noise=seeded_noise,
    )  # fmt: skip
    while state.round < num_rounds:
        started = time.monotonic()
        number = state.round + 1
        if why := kind.exhausted(state):
            log.warning("the run ends after round %d of %d: %s", state.round, num_rounds, why)
            return
        roster.refresh(grid)
        names = roster.names
        chosen = strategy.sampling.choose(names, kind.sampling_seed, number) if names else ()
        kind.open(state, Cohort({name: roster.node(name) for name in chosen}, len(names)))
        outcome = kind.close()
        with span("aggregate"):
            state, failed = step(strategy, state, outcome.aggregated(state))
        due = evaluate is not None and (number % evaluate_every == 0 or number == num_rounds)
        with span("evaluate"):
            evaluation = dict(evaluate(state.model)) if evaluate is not None and due else {}
        replies = outcome.replies
        yield RoundResult(
            state=state,
            cohort=chosen,
            dropped=dict(sorted(replies.dropped.items())),
            failed=failed,
            bytes_up=dict(sorted(replies.bytes_up.items())),
            bytes_down=outcome.bytes_down(),
            metrics=replies.means(),
            evaluation=evaluation,
            seconds=time.monotonic() - started,
            secure=kind.secure,
            epsilon=kind.epsilon,
        )
