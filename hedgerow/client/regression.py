"""The loss and the metric of a model that predicts one number for each sample."""

from collections.abc import Callable
from typing import Any

from hedgerow import checks
from hedgerow.client.task import Task


def task_of(kind: str, model: Callable[[], Any]) -> Task:
    """The task for a kind of data: cross entropy for classes, squared error for numbers.

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
        ValueError: there is not exactly one output for each target.

    >>> import torch
    >>> squared_error(torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 4.0])).item()
    2.0
    """
    return (_difference(outputs, targets) ** 2).mean()


def absolute_error(outputs: Any, targets: Any) -> Any:
    """Absolute error of each sample, `(n,)`: a metric for `Task`, with the shapes of `squared_error`.

    >>> import torch
    >>> absolute_error(torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 4.0])).tolist()
    [0.0, 2.0]
    """
    return _difference(outputs, targets).abs()


def _difference(outputs: Any, targets: Any) -> Any:
    """Output minus target of each sample, `(n,)`."""
    # Not left to torch, which would broadcast (n, 1) - (n,) to a table of all pairs.
    if not len(targets) == len(outputs) == targets.numel() == outputs.numel():
        raise ValueError(
            f"the model gives {tuple(outputs.shape)} for targets of shape {tuple(targets.shape)}; both"
            " must be one number for each sample (for several, take a loss such as torch.nn.MSELoss())"
        )
    return outputs.reshape(-1) - targets.reshape(-1)
