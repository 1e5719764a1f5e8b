"""The default loss of a task, and checks of what it is given."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hedgerow.types import Samples

_REMEDY = (
    "give the task its own loss, such as mse_loss for numbers, or"
    " binary_cross_entropy_with_logits for targets 0 and 1"
)


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
            f" {_REMEDY}"
        )
    if targets.is_floating_point():
        if targets.shape != outputs.shape:
            kind = str(targets.dtype).removeprefix("torch.")
            raise ValueError(
                f"the targets are {kind} {tuple(targets.shape)}, and cross entropy of outputs {shape} needs"
                f" classes, int64, or their probabilities {shape}; {_REMEDY}"
            )
    elif targets.dtype not in (torch.int64, torch.uint8):
        kind = str(targets.dtype).removeprefix("torch.")
        raise ValueError(f"the targets are {kind}; classes must be int64: `y.astype('int64')`")


def check_probabilities(data: Samples, who: str) -> None:
    """Refuse targets of cross entropy that are neither classes nor probabilities, judged by value.

    Raises:
        ValueError: floating-point targets `(n, classes, ...)` do not add up to 1.
    """
    y = data.y
    if y.dtype.kind != "f" or y.ndim < 2:
        return
    if (y < 0).any() or not np.allclose(y.sum(1), 1, atol=1e-3):
        raise ValueError(
            f"{who}: the targets are {y.dtype} {y.shape[1:]}, which cross entropy treats as probabilities,"
            f" which must add up to 1; {_REMEDY}"
        )
