"""A training run that saves its progress, and a Flower `ServerApp` that runs it."""

import logging
from collections.abc import Callable, Generator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Unpack

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from hedgerow import checks
from hedgerow.locks import HeldFolder, hold
from hedgerow.privacy.ledger import Ledger
from hedgerow.promotion.candidates import Keeper, measured
from hedgerow.server import arrivals
from hedgerow.server.arguments import check_grid, check_parts, check_run, check_sizes
from hedgerow.server.broadcast import Broadcasts
from hedgerow.server.checkpoint import CHECKPOINTS, MODEL, load_checkpoint, save_checkpoint, save_model
from hedgerow.server.constants import Constants
from hedgerow.server.ending import Evaluate
from hedgerow.server.evaluation import EvaluationPlan
from hedgerow.server.fingerprint import Contents, check_fingerprint
from hedgerow.server.inflating import largest_reply, read_safely
from hedgerow.server.recording import FOLDER as RECORDINGS
from hedgerow.server.recording import Recorder
from hedgerow.server.refusals import refusals_in
from hedgerow.server.roster import Roster
from hedgerow.server.rounds import begin, loop
from hedgerow.spans import ROUND, span, spanned
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Layout, Model, RoundResult, RunOptions, ServerState
from hedgerow.types.options import Waiting, options_for
from hedgerow.types.split import Split

log = logging.getLogger("hedgerow")


@checks.arguments
def train(
    grid: Grid,
    strategy: Strategy,
    initial: Model,
    layout: Layout,
    *,
    num_rounds: int,
    seed: int = 0,
    folder: Path | str | HeldFolder | None = None,
    evaluate: Evaluate | None = None,
    evaluate_every: int = 1,
    client_evaluation: EvaluationPlan | None = None,
    record: bool = False,
    keep_models: int = 0,
    contents: Contents | None = None,
    options: RunOptions | None = None,
    **changes: Unpack[Waiting],
) -> Generator[RoundResult, None, None]:
    """Like `rounds`, but saves after each round and resumes where the run stopped.

    A round is yielded first and saved when the caller asks for the next one, so
    a caller that records each result has recorded it before the checkpoint that
    includes it is written. With a `folder`, checkpoints are in
    `folder/checkpoints`, and the final model is `folder/model.safetensors`. If a
    checkpoint cannot be written, this is logged and the run continues. If the
    caller leaves the loop early (`break`), the last round is saved, with its
    model in place of the final one. No other run, of any process, can write to
    the folder meanwhile.

    If the strategy has personal layers, the model that is evaluated and saved
    has those of the initial model: the clients' own layers never reach the server.

    Args:
        initial: the model of round 0.
        folder: where to save; `None` saves nothing. A private strategy's ledger is `folder/privacy.jsonl`.
        record: keep the replies that count in each round, in `folder/replies`;
            `server.replay` computes the model from them again.
        keep_models: keep the models of this many of the last rounds, and the best one, in
            `folder/candidates`.
        contents: what determines the results in addition to the strategy, for the run's fingerprint.
        options: how the run is executed; see `RunOptions`.
        **changes: `timeout`, `register`, `deployment`, `min_clients`, `over_select`, `retry`, `quorum`,
            `set_aside` and `joined`, which override those of `options`.

    The other arguments are those of `rounds`.

    Raises:
        ValueError: an argument has the wrong type or is out of range, or the run has done more rounds.
        CheckpointError: the folder holds another run's checkpoint.
        AnotherRun: the folder's run was started with another strategy, or with
            other `contents`; the error says what has changed.
        FolderInUse: another run is using the folder.
        ValueError: `record` is set without a folder.
        LedgerError: the folder's ledger does not hold every release.
        OSError: the final model cannot be written; the last checkpoint stays.
        ValueError: an option is set that has no meaning on a grid.
    """
    # Check everything before creating or waiting for anything.
    chosen = options_for("train", Waiting, options, changes)
    check_parts(strategy, layout)
    check_grid(grid)
    check_run(num_rounds, seed, evaluate=evaluate, evaluate_every=evaluate_every)
    checks.kind(Model, ", such as trainer.initial(seed)", initial=initial)
    check_sizes(initial, layout, "initial")
    checks.kind((EvaluationPlan, NoneType), client_evaluation=client_evaluation)
    checks.flag(record=record)
    checks.whole(0, keep_models=keep_models)
    checks.kind((Contents, NoneType), contents=contents)
    if record and folder is None:
        raise ValueError("record is True, but there is no folder to record in; give one")
    return run(
        grid, strategy, initial, layout, chosen,
        num_rounds=num_rounds, seed=seed, folder=folder, evaluate=evaluate,
        evaluate_every=evaluate_every, client_evaluation=client_evaluation, record=record,
        keep_models=keep_models, contents=contents or Contents(),
    )  # fmt: skip


def run(
    grid: Grid,
    strategy: Strategy,
    initial: Model,
    layout: Layout,
    options: RunOptions,
    *,
    num_rounds: int,
    seed: int,
    folder: Path | str | HeldFolder | None,
    evaluate: Evaluate | None,
    evaluate_every: int,
    client_evaluation: EvaluationPlan | None,
    record: bool,
    keep_models: int,
    contents: Contents,
) -> Generator[RoundResult, None, None]:
    """`train` with options that have been checked."""
    split = strategy.split(layout)
    holding = nullcontext() if folder is None else hold(folder)
    with read_safely(grid, largest_reply(layout)), holding as held:
        broadcasts = Broadcasts(strategy.downlink)
        keeper = None if held is None else Keeper(held.path, split.whole, keep_models)
        saves = _Saves(held, split, split.own_part(initial), broadcasts.constants, seed, num_rounds, keeper)
        loaded = saves.load()
        state = loaded or begin(strategy, initial, layout)
        if held is not None and state.round > num_rounds:
            done = state.round
            raise ValueError(f"{held.path} has done {done} rounds; rounds must be {done} or more to continue")
        if held is not None:
            check_fingerprint(held.path, strategy, contents, begun=loaded is not None)
        ledger = None
        if held and strategy.budget is not None:
            ledger = Ledger(strategy.budget, held.path / "privacy.jsonl")
        recorder = None
        if held is not None and record:
            recorder = Recorder(held.path / RECORDINGS, split.shared, seed)
            recorder.begin(state)
        roster = Roster(options.joined, refusals_in(held.path) if held else lambda refusals: None)
        roster.wait(grid, options.min_clients)
        results = (loop if strategy.arrivals is None else arrivals.loop)(
            grid, strategy, state, layout, options,
            num_rounds=num_rounds, seed=seed, roster=roster,
            evaluate=None if evaluate is None else lambda model: evaluate(saves.whole(model)),
            evaluate_every=evaluate_every, ledger=ledger,
            client_evaluation=client_evaluation, record=recorder, broadcasts=broadcasts,
            folder=held.path if held else None,
        )  # fmt: skip
        for result in spanned(ROUND, results):
            state = result.state
            try:
                with held.let_go() if held else nullcontext():
                    yield result
            except GeneratorExit:  # the caller has left the loop
                saves.leave(result)
                raise
            saves.round(result)
        saves.end(state)


@dataclass(frozen=True)
class _Saves:
    """Writes to a run's folder, if it has one; models get the initial model's personal layers."""

    held: HeldFolder | None
    split: Split
    own: Model
    constants: Constants
    seed: int
    num_rounds: int
    keeper: Keeper | None

    def whole(self, model: Model) -> Model:
        """A model completed with the initial personal layers: the clients' never reach the server."""
        return self.split.join(model, self.own)

    def load(self) -> ServerState | None:
        if self.held is None:
            return None
        return load_checkpoint(self.held.path / CHECKPOINTS, self.split.shared, seed=self.seed)

    def round(self, result: RoundResult) -> None:
        if self.held is None:
            return
        state = result.state
        try:
            with span("save"):
                save_checkpoint(
                    self.held.path / CHECKPOINTS, state, self.split.shared,
                    seed=self.seed, constants=self.constants.hash(state.model.constants),
                )  # fmt: skip
        except OSError as error:
            log.warning("round %d is not saved: %s; the run continues", state.round, error)
        try:
            if self.keeper is not None:
                self.keeper.keep(self.whole(state.model), state.round, measured(result))
        except OSError as error:
            log.warning("the model of round %d is not kept: %s; the run continues", state.round, error)

    def end(self, state: ServerState) -> None:
        if self.held is not None:
            self._save(state.model, self.num_rounds)

    def leave(self, result: RoundResult) -> None:
        """Save the last round, unless another run has taken the folder over; errors are logged."""
        if self.held is None or self.held.lost:
            return
        self.round(result)
        try:
            self._save(result.state.model, 0)
        except OSError as error:
            log.warning("the model of round %d is not saved: %s", result.round, error)

    def _save(self, model: Model, rounds: int) -> None:
        assert self.held is not None
        save_model(self.held.path / MODEL, self.whole(model), self.split.whole, rounds=rounds)


@checks.arguments
def server_app(
    strategy: Strategy,
    initial: Callable[[], tuple[Model, Layout]],
    *,
    num_rounds: int,
    seed: int = 0,
    folder: Path | str | None = None,
    evaluate: Evaluate | None = None,
    evaluate_every: int = 1,
    on_round: Callable[[RoundResult], None] | None = None,
    options: RunOptions | None = None,
    **changes: Unpack[Waiting],
) -> ServerApp:
    """Make a Flower `ServerApp` that trains, for your own Flower project.

    Args:
        initial: makes the model of round 0 and its layout, when the run starts.
        on_round: called with each result; to do more, write a `ServerApp` of
            three lines around `train`.

    The other arguments are those of `train`.

    Raises:
        ValueError: an argument has the wrong type or is out of range, or an option is set that has no
            meaning on a grid.
    """
    chosen = options_for("server_app", Waiting, options, changes)
    checks.kind(Strategy, ", such as fedavg()", strategy=strategy)
    checks.kind(Callable, " that returns (model, layout)", initial=initial)
    checks.kind((Callable, NoneType), " of a RoundResult", on_round=on_round)
    check_run(num_rounds, seed, evaluate=evaluate, evaluate_every=evaluate_every)
    folder = None if folder is None else checks.path(folder=folder)
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        model, layout = initial()
        for result in train(
            grid, strategy, model, layout,
            num_rounds=num_rounds, seed=seed, folder=folder,
            evaluate=evaluate, evaluate_every=evaluate_every, options=chosen,
        ):  # fmt: skip
            if on_round is not None:
                on_round(result)

    return app
