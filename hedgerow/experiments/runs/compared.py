"""Have clients evaluate two models: simulated clients here, or devices of a federation."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from flwr.serverapp import Grid

from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.members import load_members
from hedgerow.coordinator.side_runs import SideRun
from hedgerow.experiments.config.schema import Experiment
from hedgerow.experiments.runs.evaluate import simulated_clients
from hedgerow.experiments.runs.simulate import measuring_trainer
from hedgerow.files import PRIVATE, write_whole
from hedgerow.locks import FolderInUse, hold, holder_of
from hedgerow.promotion.canary import Comparison
from hedgerow.server.evaluation import EvaluationPlan, evaluate_on_clients
from hedgerow.server.rounds import begin
from hedgerow.strategies.sampling import fraction_of
from hedgerow.types import Layout, Model
from hedgerow.types.evaluation import Measured

Both = tuple[Model, Model]
"""A candidate, and the current model."""

PAIR = ("candidate.safetensors", "current.safetensors")
_PAUSE = 0.2


def compare(
    grid: Grid,
    experiment: Experiment,
    layout: Layout,
    models: Both,
    nodes: Mapping[str, int],
    *,
    round: int,
    timeout: float | None = None,
) -> Comparison:
    """The results of both models on the clients at these nodes."""
    strategy, found = experiment.strategy(), []
    for model in models:
        state = replace(begin(strategy, model, layout), round=round)
        found.append(
            evaluate_on_clients(
                grid, EvaluationPlan(), state, nodes,
                layout=strategy.split(layout).shared, seed=experiment.seed, timeout=timeout,
            )
        )  # fmt: skip
    candidate, current = found
    dropped = {**current.dropped, **candidate.dropped}
    return Comparison(sorted(nodes), candidate.clients, current.clients, dropped)


def on_simulated_clients(
    run: Path, experiment: Experiment, models: Both, *, share: float, round: int
) -> Comparison:
    """The results of both models on a share of a run's simulated clients."""
    trainer = measuring_trainer(experiment)
    with simulated_clients(run, experiment, trainer, models[0], workers=1) as (grid, nodes):
        drawn = fraction_of(tuple(nodes), share, experiment.seed, "canary", round)
        chosen = {name: nodes[name] for name in drawn}
        return compare(grid, experiment, trainer.layout, models, chosen, round=round)


def on_devices(
    run: Path,
    experiment: Experiment,
    folder: FederationFolder,
    models: tuple[bytes, bytes],
    *,
    share: float,
    round: int,
    apps: tuple[str, str],
    tell: Callable[[str], None],
) -> Comparison:
    """The results of both models on a share of a federation's devices, in a short Flower run.

    The process that runs the federation carries it out; if there is none, this process does.

    Args:
        models: the candidate and the current model, as safetensors.
        apps: Flower's names of the ServerApp and the ClientApp.
        tell: called with lines of text for the operator.

    Raises:
        ValueError: no device has joined, or the Flower run has failed; the error says how.
    """
    joined = tuple(sorted(load_members(folder).devices))
    if not joined:
        raise ValueError(f"no device has joined {folder.path}; a canary needs one")
    drawn = fraction_of(joined, share, experiment.seed, "canary", round)
    side = SideRun.make(folder)
    for name, content in zip(PAIR, models, strict=True):
        write_whole(side.path / name, content, mode=PRIVATE)
    config = {"run": str(run.absolute()), "federation": str(folder.path), "names": "\n".join(drawn)}
    try:
        side.ask(*apps, {**config, "round": round})
        while (found := side.done()) is None:
            holder = holder_of(folder.path)
            if holder is None or holder.dead:
                with suppress(FolderInUse):  # another process now runs the federation
                    _carried_out(folder, side, len(drawn), tell)
            time.sleep(_PAUSE)
    finally:
        side.close()
    if "error" in found:
        raise ValueError(f"the devices could not be asked: {found['error']}")
    return from_json(found)


def to_json(found: Comparison) -> dict[str, Any]:
    """A comparison as JSON values."""
    both = {
        key: {name: [each.num_examples, dict(each.metrics)] for name, each in getattr(found, key).items()}
        for key in ("candidate", "current")
    }
    return {"asked": list(found.asked), "dropped": dict(found.dropped), **both}


def from_json(given: Mapping[str, Any]) -> Comparison:
    """Undo `to_json`."""
    candidate, current = (
        {name: Measured(*each) for name, each in given[key].items()} for key in ("candidate", "current")
    )
    return Comparison(given["asked"], candidate, current, given["dropped"])


def _carried_out(folder: FederationFolder, side: SideRun, wanted: int, tell: Callable[[str], None]) -> None:
    """Run the federation until one side run is done."""
    from hedgerow.coordinator.supervisor import (
        Supervisor,
    )  # imports everything for serving a page, which others do not need

    with hold(folder.path, keep=True):
        supervisor = Supervisor(folder, tell, threading.Event())
        supervisor.clear()
        try:
            supervisor.start("127.0.0.1")
            supervisor.stay(lambda: side.done() is not None, wanted)
        finally:
            supervisor.end()
