"""The training loop, as a generator of what happened in each round."""

import logging
import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from flwr.app import RecordDict
from flwr.serverapp import Grid

from hedgerow import record_sizes, records
from hedgerow.privacy.ledger import Ledger
from hedgerow.server.collect import Collector, Reduces, StartCollector
from hedgerow.server.exchange import exchange, instruction
from hedgerow.server.failures import Failures
from hedgerow.server.masked import MaskedCollected, MaskedCollector
from hedgerow.server.privacy import PrivateRounds, begin_private
from hedgerow.server.roster import Roster
from hedgerow.server.secure import aggregate, refusal, set_up, shortfall
from hedgerow.spans import span
from hedgerow.strategies import control
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.transforms.mask import model_hash
from hedgerow.types import Layout, Model, RoundResult, ServerState

log = logging.getLogger("hedgerow")

Evaluate = Callable[[Model], Mapping[str, float]]


def begin(strategy: Strategy, model: Model) -> ServerState:
    """The server's state before the first round."""
    d = len(model.parameters)
    control = np.zeros(d if strategy.control_variates else 0, np.float32)
    update, private = strategy.server_update.init(d), begin_private(strategy, d)
    return ServerState(0, model, update, control, private=private)


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
        layout: of the model.
        num_rounds: number of the last round.
        seed: of the run; same seed, same run.
        roster: who is there; a new one by default.
        evaluate: measures the global model after a round.
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

    Where every client fails in the same way, as all of the first round on a model
    that does not fit the data, the run stops; see `Failures`. A private one does not.

    Raises:
        EveryClientFailed: the run cannot succeed; the error says what the first client says.
        ValueError: the state is of a strategy that keeps something else.
    """
    _refuse_other_state(strategy, state)
    roster = roster or Roster()
    start = StartCollector(strategy, layout, seed)
    secure, run = strategy.pipeline.secure, secrets.token_hex(16)
    failures = Failures()
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
            lost = {name: state.uncounted[name] for name in cohort if name in state.uncounted}
            content = records.pack_train(
                state.model, layout, round=number, seed=seed, control=state.control, uncounted=lost,
                clients=len(cohort) if secure else 0,
            )  # fmt: skip
        collector, refused = _ask(
            grid, start, state, cohort, asked, content,
            clip_norm=math.inf if private is None else private.clip_norm(state),
            masked_as=run if masks else "", register=register, timeout=timeout,
        )  # fmt: skip
        counted = collector.collected.counted
        if private is None:  # whether such a run ends would tell who was there
            failures.after(number, cohort, collector.collected.dropped, counted, len(roster.names))
        with span("aggregate"):
            if private is not None and roster.names:
                state, failed = private.update(state, collector)
            else:
                state, failed = _update(strategy, state, collector, len(cohort))
            if isinstance(collector, Collector) and strategy.control_variates:
                state = _control(state, collector, cohort, len(roster.names), failed=bool(failed))
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
            bytes_down=_bytes_down(collector, cohort, content, refused),
            metrics=collected.means(),
            evaluation=evaluation,
            seconds=time.monotonic() - started,
            secure="" if secure is None else "masked" if masks else "unmasked",
            epsilon=None if private is None else private.ledger.epsilon,
        )


def _refuse_other_state(strategy: Strategy, state: ServerState) -> None:
    """Refuse a state that another strategy has left."""
    kept, found = (", ".join(names) or "nothing" for names in (strategy.server_update.init(0), state.update))
    if kept != found:
        raise ValueError(
            f"in this state the server update keeps {found}, and that of {strategy.name} {kept};"
            " go on with the strategy it was begun with, or begin anew"
        )
    if bool(state.control.size) != strategy.control_variates:
        has, wants = ("a", "none") if state.control.size else ("no", "one")
        raise ValueError(
            f"the state has {has} control variate, and the strategy {strategy.name} has {wants};"
            " go on with the strategy it was begun with, or begin anew"
        )


def _ask(
    grid: Grid,
    start: StartCollector,
    state: ServerState,
    cohort: Sequence[str],
    asked: Sequence[tuple[str, int]],
    content: RecordDict,
    *,
    clip_norm: float,
    masked_as: str,
    register: Mapping[str, bytes] | None,
    timeout: float | None,
) -> tuple[Collector | MaskedCollector, str]:
    """What came of asking a cohort; and why it was not asked at all, where its sum cannot be masked.

    Args:
        clip_norm: of a private strategy, the l2 bound of what a client adds.
        masked_as: name of this run in a secure aggregation; empty where masks are left out.
    """
    secure, number = start.strategy.pipeline.secure, state.round + 1
    if secure and cohort and (refused := refusal(start.strategy, start.layout, len(cohort))):
        collector = start(number, 0)
        collector.collected.failed = refused
        return collector, refused
    arguments = (number, len(asked), clip_norm)
    collector = start(*arguments)
    if secure and asked and masked_as:
        assert isinstance(collector, MaskedCollector)
        model = model_hash(state.model, start.layout, start.seed, number)
        setup = set_up(secure, collector.shape, cohort, masked_as, number, model)
        aggregate(grid, setup, content, dict(asked), collector.collected, register=register, timeout=timeout)
    elif asked:
        _collect(grid, asked, content, start, collector, arguments, timeout=timeout)
        if secure:
            collector.collected.failed = shortfall(secure, collector.collected.counted, len(cohort))
    return collector, ""


def _collect(
    grid: Grid,
    asked: Sequence[tuple[str, int]],
    content: RecordDict,
    start: StartCollector,
    collector: Collector | MaskedCollector,
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
    messages = [instruction(grid, content, node, "train", group) for node in clients]
    for node, message in exchange(grid, messages, timeout):
        collector.add(clients[node], message)


def _bytes_down(
    collector: Collector | MaskedCollector, cohort: Sequence[str], content: RecordDict, refused: str
) -> dict[str, int]:
    """What each was sent: all the same, but in a secure aggregation; nothing where the round was refused."""
    sent = dict.fromkeys(cohort, 0 if refused else record_sizes.measure(content))
    collected = collector.collected
    return sent | collected.bytes_down if isinstance(collected, MaskedCollected) else sent


def _update(
    strategy: Strategy, state: ServerState, collector: Collector | MaskedCollector, clients: int
) -> tuple[ServerState, str]:
    unchanged = replace(state, round=state.round + 1)
    if clients == 0:
        return unchanged, "no client is connected"
    collected = collector.collected
    if collected.failed:
        return unchanged, collected.failed
    needed = max(1, int(np.ceil(strategy.quorum * clients - 1e-9)))
    if collected.counted < needed:
        return unchanged, f"{collected.counted} of {clients} clients count; {needed} are needed"
    parameters, update = strategy.server_update.apply(state.model.parameters, collector.delta(), state.update)
    if not np.isfinite(parameters).all():
        return unchanged, "the new model would not be finite; the server's learning rate may be too large"
    buffers = collected.mean_buffers() if len(state.model.buffers) else state.model.buffers
    return replace(unchanged, model=Model(parameters, buffers), update=update), ""


def _control(
    state: ServerState, collector: Collector, cohort: tuple[str, ...], clients: int, *, failed: bool
) -> ServerState:
    """The state after a round, with the control variate that follows from it."""
    collected = collector.collected
    lost = frozenset(cohort if failed else collected.dropped)
    uncounted = control.uncounted(state.uncounted, cohort, lost, state.round)
    if failed:
        return replace(state, uncounted=uncounted)
    mean = collected.controls.result()
    return replace(
        state, control=control.moved(state.control, mean, collected.counted, clients), uncounted=uncounted
    )
