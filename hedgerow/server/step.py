"""The server's step: compute its next state from the outcome of a round."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.streams import Totals, uncounted
from hedgerow.types import Arrays, ServerState, Vector


@dataclass(frozen=True)
class Aggregated:
    """The aggregated outcome of a round.

    Attributes:
        cohort: the clients that were asked.
        delta: of the model, `(d,) float32`; `None` if the round failed.
        totals: of the cohort, with the aggregate of each stream.
        lost: clients that were asked but do not count.
        failed: why the model stays as it was, or an empty string.
        aggregate: the next state of the aggregation rules; `None` leaves it unchanged.
        private: the next state of a private strategy; `None` leaves it unchanged.
        norms: the medians that bound the next round's norms, for the parts that this round determines.
    """

    cohort: Sequence[str] = ()
    delta: Vector | None = None
    totals: Totals = field(default_factory=Totals)
    lost: frozenset[str] = frozenset()
    failed: str = ""
    aggregate: Arrays | None = None
    private: Arrays | None = None
    norms: Mapping[str, float] = field(default_factory=dict)


def step(strategy: Strategy, state: ServerState, found: Aggregated) -> tuple[ServerState, str]:
    """The state after a round, and why the model stays as it was, or an empty string.

    Every loop, whether it runs rounds in turn or handles replies as they arrive,
    updates the server only through this function.

    >>> from hedgerow.types import Model
    >>> state = ServerState(0, Model(np.zeros(2, np.float32)))
    >>> after, why = step(Strategy(), state, Aggregated(delta=np.ones(2, np.float32)))
    >>> after.round, after.model.parameters.tolist(), why
    (1, [1.0, 1.0], '')
    """
    unchanged = replace(
        state,
        round=state.round + 1,
        private=state.private if found.private is None else found.private,
        norms={**state.norms, **found.norms},
    )
    if state.model.constants.size:
        unchanged = replace(unchanged, holding=state.holding.union(set(found.cohort) - found.lost))
    moved, failed = _moved(strategy, unchanged, found)
    if any(stream.confirmed for stream in strategy.streams):
        lost = frozenset(found.cohort) if failed else found.lost
        moved = replace(moved, uncounted=uncounted(state.uncounted, found.cohort, lost, moved.round))
    return moved, failed


def _moved(strategy: Strategy, state: ServerState, found: Aggregated) -> tuple[ServerState, str]:
    if found.failed or found.delta is None:
        return state, found.failed
    parameters, update = strategy.server_update(
        state.model.parameters, found.delta, state.update, found.totals
    )
    if not np.isfinite(parameters).all():
        return state, "the new model would not be finite; the server's learning rate may be too large"
    aggregate = state.aggregate if found.aggregate is None else found.aggregate
    model = replace(state.model, parameters=parameters)
    moved = replace(state, model=model, update=update, aggregate=aggregate)
    for stream in strategy.all_streams:
        if stream.name in found.totals.streams:
            moved = stream.moved(moved, found.totals.streams[stream.name], found.totals)
    return moved, ""
