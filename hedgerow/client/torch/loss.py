"""A task's loss and metrics where they are computed; the default loss, and a check of what it is given."""

import copy
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hedgerow.client.fitting import REMEDY
from hedgerow.client.task import Task


@final
class Objective:
    """A task's loss and metrics on a device.

    Args:
        task: what is learned.
        device: to compute on.
    """

    def __init__(self, task: Task, device: torch.device) -> None:
        self.default = task.loss is None or task.loss is F.cross_entropy
        """Whether the loss is cross entropy, as nothing else was asked for."""
        self.own = None if self.default else placed(task.loss, device)
        """The task's own loss, if it has one."""
        self.measures = {name: placed(metric, device) for name, metric in task.measures.items()}
        """The metrics, by name."""

    def loss(self, outputs: Any, targets: Tensor) -> Tensor:
        """The mean over the batch, a scalar; raises `ValueError` if the task's loss returns no scalar."""
        loss = (self.own or cross_entropy)(outputs, targets)
        if isinstance(loss, Tensor) and loss.dim() == 0:
            return loss
        raise ValueError(f"the loss returned {loss!r}; it must return a scalar, the mean over the batch")


def placed(function: Any, device: torch.device) -> Callable[..., Any]:
    """A loss or metric that computes on a device: if it is a module with tensors (weights), a copy there.

    >>> placed(len, torch.device("cpu")) is len
    True
    """
    if device.type == "cpu" or not isinstance(function, nn.Module):
        found: Callable[..., Any] = function
        return found
    return copy.deepcopy(function).to(device)


def cross_entropy(outputs: Any, targets: Tensor) -> Tensor:
    """torch's cross entropy, the mean over the batch.

    Raises:
        ValueError: as for `check_classes`.
    """
    check_classes(outputs, targets)
    return F.cross_entropy(outputs, targets)


def check_classes(outputs: Any, targets: Tensor) -> None:
    """Refuse outputs that are not scores and targets that are not classes, judged by shape and dtype.

    Args:
        outputs: a model's, for a batch.
        targets: of the same batch.

    Raises:
        ValueError: the outputs have one column, where cross entropy is always 0; or
            the targets are neither integers nor probabilities.
    """
    if not isinstance(outputs, Tensor):
        raise ValueError(
            f"the model returns a {type(outputs).__name__}; if the task names no loss, it must return one"
            " tensor of scores"
        )
    shape = tuple(outputs.shape)
    if len(shape) < 2 or shape[1] == 1:
        raise ValueError(
            f"the model returns one column of outputs {shape}; cross entropy needs a score for each class;"
            f" {REMEDY}"
        )
    if targets.is_floating_point():
        if targets.shape != outputs.shape:
            kind = str(targets.dtype).removeprefix("torch.")
            raise ValueError(
                f"the targets are {kind} {tuple(targets.shape)}, and cross entropy of outputs {shape} needs"
                f" classes, int64, or their probabilities {shape}; {REMEDY}"
            )
    elif targets.dtype not in (torch.int64, torch.uint8):
        kind = str(targets.dtype).removeprefix("torch.")
        raise ValueError(f"the targets are {kind}; classes must be int64: `y.astype('int64')`")
