"""Choose the kind of round for a strategy: plain, masked or private."""

from pathlib import Path

from flwr.serverapp import Grid

from hedgerow.privacy.ledger import Ledger
from hedgerow.server import private
from hedgerow.server.announced import Announced
from hedgerow.server.collector import StartCollector
from hedgerow.server.masked import MaskedRounds
from hedgerow.server.masked_collector import StartMasked
from hedgerow.server.plain import PlainRounds
from hedgerow.server.recording import StartKeeping
from hedgerow.server.request import Constants
from hedgerow.server.round_kind import RoundKind
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Deployment, Layout, RunOptions, ServerState


def kind_of(
    strategy: Strategy,
    grid: Grid,
    layout: Layout,
    state: ServerState,
    options: RunOptions,
    constants: Constants,
    *,
    seed: int,
    ledger: Ledger | None,
    keep: bool = False,
    folder: Path | None = None,
) -> RoundKind:
    """The kind of round for a strategy; the arguments are those of `rounds`.

    `constants` and `folder` are those of the run. With `keep`, replies that the server may see are
    kept for recording.

    Raises:
        ValueError: the model has values that a private strategy would average without noise.
        LedgerError: the ledger holds fewer releases than the state.
    """
    deployment, timeout = options.deployment or Deployment.REAL, options.timeout
    inner: private.Gathers
    if strategy.pipeline.sum_only:
        # Simulated clients answer a repeated round; real ones do not.
        announced = Announced.of(folder if deployment is Deployment.REAL else None)
        masked = StartMasked(strategy, layout, seed)
        inner = MaskedRounds(grid, masked, timeout, constants, announced, options.register, deployment.masks)
    elif strategy.private:
        bounded = private.StartBounded(strategy, layout, seed)
        inner = PlainRounds(
            grid, bounded, timeout, constants, lambda state: (private.clip_norm(strategy, state),)
        )
    else:
        seen = StartCollector(strategy, layout, seed)
        inner = PlainRounds(
            grid, StartKeeping(seen) if keep else seen, timeout, constants, lambda state: (dict(state.norms),)
        )
    if not strategy.private or strategy.budget is None:
        return inner
    ledger = ledger or Ledger(strategy.budget)
    private.check(strategy, layout, state, ledger)
    return private.PrivateRounds(inner, strategy, seed, ledger, deployment.seeded)
