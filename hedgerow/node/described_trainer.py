"""The trainer of a described run, if it is installed here."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hedgerow.client.regression import task_of
from hedgerow.client.trainer import Trainer
from hedgerow.client.trainers import TRAINERS, Computing, make_trainer
from hedgerow.models import MODELS, NamedModel
from hedgerow.node.errors import NoTrainer, OtherModel
from hedgerow.recipe.announcement import Described


def described_trainer(run: Described) -> Trainer:
    """The trainer that a run names, for its model.

    Raises:
        NoTrainer: it is not installed.
        OtherModel: the model has other tensors here than on the server.
    """
    try:
        model: Callable[[], Any] = NamedModel(run.model, dict(run.arguments))
        if run.lora is not None:
            from hedgerow.client.torch.lora import lora

            model = lora(model, **run.lora)
        trainer = make_trainer(run.trainer, task_of(run.kind, model), Computing(precision=run.precision))
    except ImportError as error:
        raise NoTrainer(str(error)) from error
    if trainer.layout.fingerprint != run.layout:
        raise OtherModel(f"the layout is {trainer.layout.fingerprint}, the server's {run.layout}")
    return trainer


def evaluating_trainer(run: Described) -> Trainer:
    """The same for evaluation only, always in float32; raises as `described_trainer` does."""
    return described_trainer(replace(run, precision="float32"))


def is_installed(run: Described) -> bool:
    """Whether model and trainer name things installed here, not code from the server."""
    return run.model in MODELS.names() and run.trainer in TRAINERS.names()
