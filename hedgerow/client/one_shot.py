"""Tasks of a single round, in which the last layer is computed from sums: what needs no torch of them."""

from collections.abc import Callable
from typing import Any

from hedgerow.client.task import Task, accuracy
from hedgerow.types import LocalTraining

HEADS = ("ridge", "class_means")

RIDGE = 0.01
"""The strength of a ridge's penalty for each sample, if none is given."""

ONE_STEP = LocalTraining(learning_rate=1.0, batch_size=0)
"""One step on all samples: what such a task is trained with."""


def score_of_class(outputs: Any, targets: Any) -> Any:
    """Minus the mean score of each sample's class, a scalar: the loss of `hr.ridge` and `hr.class_means`.

    >>> import torch
    >>> score_of_class(torch.tensor([[1.0, 2.0], [3.0, 5.0]]), torch.tensor([0, 1])).item()
    -3.0
    """
    return -outputs.gather(1, targets.unsqueeze(1)).mean()


def one_shot_task(kind: str, model: Callable[[], Any]) -> Task:
    """The task of a model whose last layer is computed; raises `ValueError` for a regression."""
    if kind != "classification":
        raise ValueError(f"one_shot must be left out: its sums are of classes, and this is a {kind}")
    return Task(model, loss=score_of_class, metrics={"accuracy": accuracy})


def refuse_steps(local: LocalTraining) -> None:
    """Raise `ValueError` if clients would train with more than one step on all samples."""
    if local != ONE_STEP:
        raise ValueError(
            "[local] must have learning_rate = 1.0, batch_size = 0 and nothing else with one_shot: one step"
            " on all samples makes exactly the sums that are sent"
        )
