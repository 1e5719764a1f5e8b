"""A training run that saves itself, and a Flower `ServerApp` of it."""

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from hedgerow.privacy.ledger import Ledger
from hedgerow.server.checkpoint import load_checkpoint, save_checkpoint, save_model
from hedgerow.server.roster import Roster
from hedgerow.server.rounds import Evaluate, begin, rounds
from hedgerow.spans import ROUND, span, spanned
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Layout, Model, RoundResult

log = logging.getLogger("hedgerow")


def train(
    grid: Grid,
    strategy: Strategy,
    initial: Model,
    layout: Layout,
    *,
    num_rounds: int,
    seed: int = 0,
    folder: Path | None = None,
    evaluate: Evaluate | None = None,
    evaluate_every: int = 1,
    min_clients: int = 1,
    timeout: float | None = None,
    masks: bool = True,
    register: Mapping[str, bytes] | None = None,
    seeded_noise: bool = False,
) -> Iterator[RoundResult]:
    """`rounds`, saved after each round and resumed from where it was.

    A round is yielded first and saved when the caller asks for the next one,
    so that a caller who writes each result down has written it before the
    checkpoint that counts it. With a `folder`, checkpoints lie in
    `folder/checkpoints`, and the final model is `folder/model.safetensors`. A
    checkpoint that cannot be written is logged, and the run goes on.

    Where the strategy has personal layers, what is evaluated and what is saved
    at the end has those of the initial model: clients' own never come here.

    Args:
        initial: the model of round 0.
        folder: where to save; `None` saves nothing.
        min_clients: wait for so many clients before the first round.
        seeded_noise: see `rounds`. A private strategy's ledger is `folder/privacy.jsonl`.

    The others are those of `rounds`.

    Raises:
        CheckpointError: the folder holds another run's checkpoint.
        LedgerError: the folder's ledger does not hold all that was released.
        OSError: the final model cannot be written; the last checkpoint stays.
    """
    split = strategy.split(layout)
    state = load_checkpoint(folder / "checkpoints", split.shared, seed=seed) if folder else None
    state = state or begin(strategy, initial, layout)
    ledger = None
    if folder and strategy.budget is not None:
        folder.mkdir(parents=True, exist_ok=True)
        ledger = Ledger(strategy.budget, folder / "privacy.jsonl")

    def whole(model: Model) -> Model:
        """With personal layers as they were made: those of clients never come here."""
        return split.join(model, split.own_part(initial))

    roster = Roster()
    roster.wait(grid, min_clients)
    results = rounds(
        grid, strategy, state, layout,
        num_rounds=num_rounds, seed=seed, roster=roster,
        evaluate=None if evaluate is None else lambda model: evaluate(whole(model)),
        evaluate_every=evaluate_every, timeout=timeout, masks=masks, register=register,
        ledger=ledger, seeded_noise=seeded_noise,
    )  # fmt: skip
    for result in spanned(ROUND, results):
        state = result.state
        yield result
        if folder:
            try:
                with span("save"):
                    save_checkpoint(folder / "checkpoints", state, split.shared, seed=seed)
            except OSError as error:
                log.warning("round %d is not saved: %s; the run goes on", state.round, error)
    if folder:
        save_model(folder / "model.safetensors", whole(state.model), layout)


def server_app(
    strategy: Strategy,
    initial: Callable[[], tuple[Model, Layout]],
    *,
    num_rounds: int,
    seed: int = 0,
    folder: Path | None = None,
    evaluate: Evaluate | None = None,
    min_clients: int = 1,
    timeout: float | None = None,
    register: Mapping[str, bytes] | None = None,
    on_round: Callable[[RoundResult], None] | None = None,
) -> ServerApp:
    """Make a Flower `ServerApp` that trains, for a Flower project of your own.

    Args:
        initial: makes the model of round 0 and its layout, when the run starts.
        on_round: is called with each result; to do more, write a `ServerApp`
            of three lines around `train`.

    The others are those of `train`.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        model, layout = initial()
        for result in train(
            grid, strategy, model, layout,
            num_rounds=num_rounds, seed=seed, folder=folder,
            evaluate=evaluate, min_clients=min_clients, timeout=timeout, register=register,
        ):  # fmt: skip
            if on_round is not None:
                on_round(result)

    return app
