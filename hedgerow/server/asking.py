"""Ask a cohort for a round, with some extra clients, and again if too few replies count."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flwr.serverapp import Grid

from hedgerow import rng
from hedgerow.server.roster import Roster
from hedgerow.server.round_kind import Cohort, Outcome, RoundKind
from hedgerow.strategies.quorum import refuse_quorum
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import RunOptions, ServerState

log = logging.getLogger("hedgerow")


@dataclass(frozen=True)
class Asked:
    """The outcome of asking for a round.

    Attributes:
        cohort: names of the clients asked in the last attempt, sorted.
        outcome: of the last attempt.
        bytes_up, bytes_down: `{client: bytes}` of all attempts together.
        announced: whether the round had been announced already, by a server that was then killed.
    """

    cohort: tuple[str, ...]
    outcome: Outcome
    bytes_up: dict[str, int]
    bytes_down: dict[str, int]
    announced: bool


def check_asking(strategy: Strategy, options: RunOptions) -> None:
    """Raise `ValueError` if the options ask for more than the strategy's protection allows."""
    if strategy.arrivals is not None:
        raise ValueError(
            f"{strategy.name} counts replies as they arrive, and has no rounds; train with arrivals(...), or"
            " take fedavg"
        )
    kind = "masked" if strategy.pipeline.sum_only else "private" if strategy.private else ""
    if refused := refuse_quorum(strategy, options.quorum):
        raise ValueError(f"quorum is {options.quorum}: {refused}")
    for name in ("over_select", "retry"):
        if kind and (value := getattr(options, name)):
            why = "a device answers once" if kind == "masked" else "the ledger assumes the cohort as drawn"
            raise ValueError(f"{name} is {value:g}; it must be 0, since updates are {kind}: {why}")


def ask(
    kind: RoundKind,
    strategy: Strategy,
    state: ServerState,
    roster: Roster,
    grid: Grid,
    options: RunOptions,
    left_out: frozenset[str] = frozenset(),
) -> Asked:
    """Ask a cohort for its round; if too few replies count, ask again as often as the options say.

    Args:
        left_out: clients that must not be drawn.
    """
    up: dict[str, int] = {}
    down: dict[str, int] = {}
    before = kind.announced(state.round + 1)
    secure = strategy.pipeline.protection.secure
    least = 0 if before else max(1, options.quorum, 0 if secure is None else secure.min_clients)
    for left in range(options.retry, -1, -1):
        roster.gather(grid, least, left_out)
        cohort = _cohort(kind, strategy, state, roster, before, options.over_select, left_out)
        names = before or tuple(cohort.nodes)
        kind.open(state, cohort)
        outcome = kind.close()
        replies = outcome.replies
        # A quorum of 1 has no effect: a private round counts even if no client took part.
        if not replies.failed and replies.counted < options.quorum > 1:
            replies.failed = f"{replies.counted} of {len(names)} clients count; quorum is {options.quorum}"
        _add(up, outcome.replies.bytes_up)
        _add(down, outcome.bytes_down())
        # Aggregating has no side effects here: rounds with a ledger are never retried.
        if not left or not (failed := outcome.aggregated(state).failed):
            break
        log.warning("round %d is retried: %s", state.round + 1, failed)
    return Asked(names, outcome, up, down, before is not None)


def _cohort(
    kind: RoundKind,
    strategy: Strategy,
    state: ServerState,
    roster: Roster,
    before: tuple[str, ...] | None,
    over_select: float,
    left_out: frozenset[str],
) -> Cohort:
    number, there = state.round + 1, roster.names
    if before is not None:
        present = set(there)
        return Cohort({name: roster.node(name) for name in before if name in present}, len(there))
    clients = len(there)
    if left_out:
        there = tuple(name for name in there if name not in left_out)
    chosen = strategy.sampling.choose(there, kind.sampling_seed, number) if there else ()
    more = _more(there, chosen, math.ceil(over_select * len(chosen)), kind.sampling_seed, number)
    nodes = {name: roster.node(name) for name in sorted((*chosen, *more))}
    return Cohort(nodes, clients, enough=len(chosen) if more else None)


def _more(there: Sequence[str], chosen: Sequence[str], number: int, seed: int, round: int) -> tuple[str, ...]:
    """Draw up to `number` of the clients that were not chosen."""
    if not number:
        return ()
    taken = set(chosen)
    others = [name for name in there if name not in taken]
    order = rng.generator(seed, "over-select", round=round).permutation(len(others))
    return tuple(others[place] for place in order[:number].tolist())


def _add(total: dict[str, int], sizes: Mapping[str, int]) -> None:
    for name, size in sizes.items():
        total[name] = total.get(name, 0) + size
