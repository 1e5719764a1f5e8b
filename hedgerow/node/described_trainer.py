"""The trainer of a described run, if one is installed here that can train it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from hedgerow.client.one_shot import one_shot_task
from hedgerow.client.regression import task_of
from hedgerow.client.task import Task
from hedgerow.client.trainer import Trainer
from hedgerow.client.trainers import TRAINERS, Computing, make_trainer
from hedgerow.graphs.bundle import Graphs
from hedgerow.models import MODELS, NamedModel
from hedgerow.node.errors import NoTrainer, OtherModel
from hedgerow.recipe.announcement import Described

BY_GRAPHS = "onnx"
"""The trainer for a device that has not what a run's own trainer needs, where the run offers graphs."""


def trainers_for(run: Described, chosen: str = "") -> Sequence[str]:
    """Names of the trainers to try, in order: the one that the owner has chosen, or the run's own first.

    Only installed ones: a server names no code.
    """
    wanted = [chosen] if chosen else [run.trainer, *([BY_GRAPHS] if run.graphs else [])]
    return [name for name in dict.fromkeys(wanted) if name in TRAINERS.names()]


def described_trainer(
    run: Described, chosen: str = "", graphs: Callable[[], Graphs] | None = None
) -> Trainer:
    """The trainer of a run, for its model.

    Args:
        run: its description.
        chosen: name of the trainer to take in place of the run's own.
        graphs: returns those that the run offers, or raises what then is raised here.

    Raises:
        NoTrainer: none is installed that could train it.
        OtherModel: the model has other tensors here than on the server.
    """
    missing: ImportError | None = None
    computing = Computing(precision=run.precision, graphs=graphs if run.graphs else None)
    for name in trainers_for(run, chosen):
        try:
            trainer = make_trainer(name, _task(run), computing)
        except ImportError as error:
            missing = missing or error
            continue
        if trainer.layout.fingerprint != run.layout:
            raise OtherModel(f"the layout is {trainer.layout.fingerprint}, the server's {run.layout}")
        return trainer
    raise NoTrainer(str(missing or f"no trainer of this run is installed: {run.trainer!r}")) from missing


def evaluating_trainer(run: Described) -> Trainer:
    """The same for evaluation only, always in float32; raises as `described_trainer` does."""
    return described_trainer(replace(run, precision="float32", graphs=None))


def is_installed(run: Described) -> bool:
    """Whether model and trainer name things installed here, not code from the server."""
    return run.model in MODELS.names() and run.trainer in TRAINERS.names()


def _task(run: Described) -> Task:
    plain = NamedModel(run.model, dict(run.arguments))
    ways = (run.low_rank, run.one_shot, run.lora)
    model = plain if ways == (None, None, None) else partial(_reshaped, plain, *ways)
    return task_of(run.kind, model) if run.one_shot is None else one_shot_task(run.kind, model)


def _reshaped(model: NamedModel, *ways: Mapping[str, Any] | None) -> Any:
    """A module that is not plain; a trainer that builds none, as by graphs, needs no torch for it."""
    from hedgerow.client.torch.reshaped import reshaped

    return reshaped(model, *ways)
