"""The default loss of a task, and a check of what it is given."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hedgerow.client.fitting import REMEDY


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
