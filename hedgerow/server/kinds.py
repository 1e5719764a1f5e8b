"""Choose a strategy's kind of round, plain, masked or private, and how clients evaluate its models."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeAlias

from flwr.serverapp import Grid

from hedgerow.privacy.ledger import Ledger
from hedgerow.secure.messages import EVALUATE, TRAIN
from hedgerow.server import private
from hedgerow.server.announced import Announced
from hedgerow.server.broadcast import Broadcasts
from hedgerow.server.collector import StartCollector
from hedgerow.server.evaluation import EvaluationPlan, evaluate_on_clients
from hedgerow.server.masked import MaskedRounds
from hedgerow.server.masked_collector import StartMasked
from hedgerow.server.masked_evaluation import MaskedEvaluation, StartMeasured
from hedgerow.server.masked_sums import MaskedSums
from hedgerow.server.plain import PlainRounds
from hedgerow.server.recording import StartKeeping
from hedgerow.server.round_kind import RoundKind
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Deployment, Layout, RunOptions, ServerState
from hedgerow.types.evaluation import ClientEvaluation, SummedEvaluation

Measures: TypeAlias = Callable[[ServerState, Mapping[str, int]], ClientEvaluation | SummedEvaluation]
"""`(state, {client: node id}) -> what these clients measure of its model`."""


def kind_of(
    strategy: Strategy,
    grid: Grid,
    layout: Layout,
    state: ServerState,
    options: RunOptions,
    broadcasts: Broadcasts,
    *,
    seed: int,
    ledger: Ledger | None,
    keep: bool = False,
    folder: Path | None = None,
) -> RoundKind:
    """The kind of round for a strategy; the arguments are those of `rounds`.

    `broadcasts` and `folder` are those of the run. With `keep`, replies that the server may see are
    kept for recording.

    Raises:
        ValueError: the model has values that a private strategy would average without noise.
        LedgerError: the ledger holds fewer releases than the state.
    """
    timeout = options.timeout
    inner: private.Gathers
    if strategy.pipeline.sum_only:
        masked = StartMasked(strategy, layout, seed)
        inner = MaskedRounds(_sums(grid, options, folder, TRAIN), masked, broadcasts)
    elif strategy.private:
        bounded = private.StartBounded(strategy, layout, seed)
        inner = PlainRounds(
            grid, bounded, timeout, broadcasts, lambda state: (private.clip_norm(strategy, state),)
        )
    else:
        seen = StartCollector(strategy, layout, seed)
        start = StartKeeping(seen) if keep else seen
        inner = PlainRounds(grid, start, timeout, broadcasts, lambda state: (dict(state.norms),))
    if not strategy.private or strategy.budget is None:
        return inner
    ledger = ledger or Ledger(strategy.budget)
    private.check(strategy, layout, state, ledger)
    return private.PrivateRounds(inner, strategy, seed, ledger, _deployment(options).seeded)


def measures_of(
    plan: EvaluationPlan,
    strategy: Strategy,
    grid: Grid,
    layout: Layout,
    options: RunOptions,
    broadcasts: Broadcasts,
    *,
    seed: int,
    folder: Path | None = None,
) -> Measures:
    """How clients measure the models of a run: each by itself, or under the strategy's mask all together."""
    secure = strategy.pipeline.protection.secure
    if secure is None:
        return partial(
            evaluate_on_clients, grid, plan, layout=layout, seed=seed, timeout=options.timeout,
            broadcasts=broadcasts,
        )  # fmt: skip
    sums = _sums(grid, options, folder, EVALUATE)
    return MaskedEvaluation(plan, sums, StartMeasured(secure), layout, seed, broadcasts)


def _sums(grid: Grid, options: RunOptions, folder: Path | None, purpose: str) -> MaskedSums:
    deployment = _deployment(options)
    # Simulated clients answer a round that is run again; real ones do not.
    announced = Announced.of(folder if deployment is Deployment.REAL else None, purpose)
    return MaskedSums(grid, options.timeout, announced, options.register, deployment.masks)


def _deployment(options: RunOptions) -> Deployment:
    return options.deployment or Deployment.REAL
