"""Promote the model of a round of a run, by hand or by a canary's rule."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.numpy import load, save

from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.register import served
from hedgerow.experiments.config.errors import StoreError
from hedgerow.experiments.config.schema import Experiment
from hedgerow.experiments.runs import canary_app, compared, coordinated
from hedgerow.experiments.runs.announce import announcement_of
from hedgerow.experiments.runs.evaluate import begun_experiment, check_held_out
from hedgerow.experiments.runs.graphs import offer_of
from hedgerow.experiments.runs.lineage import lineage_of
from hedgerow.experiments.runs.simulate import measuring_trainer
from hedgerow.experiments.runs.store import RunFolder
from hedgerow.promotion.canary import Canary, Comparison, judge
from hedgerow.promotion.candidates import best_of, candidates, content_of
from hedgerow.promotion.lineage import FLOWER, SIMULATION, Promotion
from hedgerow.promotion.shelf import Shelf
from hedgerow.promotion.tensors import OtherTensors, model_of
from hedgerow.server.announced import RUN, run_id
from hedgerow.strategies.measuring import refuse_client_evaluation
from hedgerow.types import Layout, Model

LAST, BEST = "last", "best"


class NotPromoted(ValueError):
    """The rule rejects a candidate; the current model stays."""


@dataclass(frozen=True)
class Chosen:
    """A model of a run.

    Attributes:
        round: that made it.
        content: as safetensors, without a header.
    """

    round: int
    content: bytes


def shelf_of(run: Path, federation: FederationFolder | None = None) -> tuple[Shelf, FederationFolder | None]:
    """The shelf of a run's promoted models: in its federation's folder, or else in its own.

    Args:
        federation: instead of the run's own federation.

    Raises:
        StoreError: there is no run in the folder.
        FederationError: its federation is no longer where it was.
    """
    RunFolder(run)
    folder = federation or coordinated.federation_of(run)
    return Shelf(run if folder is None else folder.path), folder


def chosen(run: Path, which: str) -> Chosen:
    """A model of a run: `"last"`, `"best"`, or the one of a round by its number.

    Raises:
        StoreError: there is no such model, or it is no longer kept.
        CandidateError: it cannot be read.
    """
    there, found = RunFolder(run), candidates(run)
    rounds = [each.round for each in found]
    last = max((int(line["round"]) for line in there.rounds()), default=0)
    if which == BEST:
        if (best := best_of(found)) is None:
            raise StoreError(f"no round of {run} with a kept model was measured; give a round's number")
        return Chosen(best.round, content_of(best))
    if which != LAST and not which.isdecimal():
        raise StoreError(f"the round is {which!r}; it must be a number, 'last' or 'best'")
    wanted = int(which) if which != LAST else last
    if wanted in rounds:
        return Chosen(wanted, content_of(found[rounds.index(wanted)]))
    if wanted == last and there.model.is_file():
        return Chosen(wanted, save(load(there.model.read_bytes())))
    kept = f"of rounds {', '.join(map(str, rounds))}" if rounds else "of no round"
    raise StoreError(f"{run} has no model of round {wanted}; models are kept {kept} (see run.keep_models)")


def promote(
    run: Path,
    which: str = LAST,
    *,
    federation: FederationFolder | None = None,
    canary: Canary | None = None,
    groups: Mapping[str, str] | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Promotion:
    """Promote the model of a round.

    Args:
        run: the run's folder.
        which: `"last"`, `"best"`, or the number of a round.
        federation: whose devices are to use it; default: the run's own.
        canary: the rule to apply first; `None` promotes it without one.
        groups: `{device: group}` for the canary.
        tell: called with lines of text for the operator.

    Raises:
        NotPromoted: the canary rejects it.
        StoreError, CandidateError, ShelfError, FederationError: something is missing, or cannot be read.
        ValueError: the run cannot be described to devices, or they must not measure the model.
    """
    shelf, folder = shelf_of(run, federation)
    experiment = begun_experiment(run)
    if folder is not None:
        coordinated.check_describable(experiment)
    taken = chosen(run, which)
    layout = measuring_trainer(experiment).layout
    _read(taken.content, layout, f"round {taken.round} of {run}")
    name = run_id(run) if (run / RUN).exists() else str(run)
    rule: Mapping[str, object] = {"rule": "by hand"}
    if canary is not None:
        verdict = judge(
            canary, _measured(run, experiment, layout, shelf, folder, taken, canary, tell), groups
        )
        rule = verdict.figures
        if verdict.why:
            shelf.refuse(taken.content, taken.round, verdict.why, rule)
            raise NotPromoted(f"round {taken.round} is not promoted: {verdict.why}")
    trust = served(folder).trust if folder else FLOWER if (run / RUN).exists() else SIMULATION
    lineage = lineage_of(RunFolder(run), experiment, name, taken.round, trust)
    described = announcement_of(experiment, layout, name, offer_of(run)).description

    def make(number: int, time: str, digest: str, size: int) -> Promotion:
        return Promotion(number, time, digest, size, rule, lineage, described)

    return shelf.promote(taken.content, make)


def _measured(
    run: Path,
    experiment: Experiment,
    layout: Layout,
    shelf: Shelf,
    folder: FederationFolder | None,
    taken: Chosen,
    canary: Canary,
    tell: Callable[[str], None],
) -> Comparison:
    """The results of a candidate and the current model on devices or simulated clients."""
    if refused := refuse_client_evaluation(experiment.strategy()):
        raise ValueError(f"evaluation by clients: {refused}")
    check_held_out(run, experiment)
    current = shelf.current()
    if current is None:
        raise NotPromoted(
            f"{shelf.folder} has no promoted model to compare with; promote the first one without --canary"
        )
    before = shelf.content(current)
    models = _read(taken.content, layout, "the candidate"), _read(before, layout, "the current model")
    if folder is None or not (run / coordinated.FILE).exists():
        return compared.on_simulated_clients(run, experiment, models, share=canary.share, round=taken.round)
    return compared.on_devices(
        run, experiment, folder, (taken.content, before), share=canary.share, round=taken.round,
        apps=(canary_app.SERVER_APP, coordinated.CLIENT_APP), tell=tell,
    )  # fmt: skip


def _read(content: bytes, layout: Layout, what: str) -> Model:
    try:
        return model_of(load(content), layout)
    except OtherTensors as error:
        raise NotPromoted(f"{what} does not belong to the run's model: {error}") from error
