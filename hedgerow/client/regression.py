"""What a model that predicts one number for each sample learns by, and is measured by."""

from collections.abc import Callable
from typing import Any

from hedgerow import checks
from hedgerow.client.task import Task


def task_of(kind: str, model: Callable[[], Any]) -> Task:
    """What a model learns on such data: cross entropy, or squared error where numbers are predicted.

    Raises:
        ValueError: the kind is neither `"classification"` nor `"regression"`.
    """
    checks.one_of(("classification", "regression"), task=kind)
    if kind == "classification":
        return Task(model)
    return Task(model, loss=squared_error, metrics={"mae": absolute_error})


def squared_error(outputs: Any, targets: Any) -> Any:
    """Mean squared error, a scalar: a loss for `Task`.

    Args:
        outputs: `(n, 1)` or `(n,)`, the predictions.
        targets: `(n,)` numbers, or `(n, 1)`.

    Raises:
        ValueError: there is not one output for each target.

    >>> import torch
    >>> squared_error(torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 4.0])).item()
    2.0
    """
    return (_difference(outputs, targets) ** 2).mean()


def absolute_error(outputs: Any, targets: Any) -> Any:
    """Absolute error of each sample, `(n,)`: a metric for `Task`, of the shapes that `squared_error` takes.

    >>> import torch
    >>> absolute_error(torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 4.0])).tolist()
    [0.0, 2.0]
    """
    return _difference(outputs, targets).abs()


def _difference(outputs: Any, targets: Any) -> Any:
    """Output minus target of each sample, `(n,)`."""
    # Not left to torch, which would take (n, 1) - (n,) for a table of all pairs.
    if not len(targets) == len(outputs) == targets.numel() == outputs.numel():
        raise ValueError(
            f"the model gives {tuple(outputs.shape)} for targets of the shape {tuple(targets.shape)}; both"
            " must be one number for each sample (for several, take a loss such as torch.nn.MSELoss())"
        )
    return outputs.reshape(-1) - targets.reshape(-1)
