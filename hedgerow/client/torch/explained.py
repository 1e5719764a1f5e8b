"""Errors of a user's model, loss or metric, explained with what it was given."""

from typing import Any

from torch import Tensor

from hedgerow.types.training import Diverged


def total_of(name: str, values: Any, samples: int) -> float:
    """The sum of a metric's values, one per sample.

    Raises:
        ValueError: the metric returns something else.
    """
    if isinstance(values, Tensor) and values.shape == (samples,):
        return values.double().sum().item()
    shape = tuple(values.shape) if isinstance(values, Tensor) else f"no tensor but {values!r}"
    raise ValueError(f"metric {name!r} gave {shape} for {samples} samples; it must give one value for each")


OF_USERS = ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError
"""Errors that a user's model or loss may raise on samples that do not fit it."""


def diverged(who: str, loss: float, learning_rate: float) -> Diverged:
    """The error of a training whose numbers are no longer finite."""
    return Diverged(
        f"{who}: training diverged (loss {loss:g}); the learning rate was {learning_rate:g}: try a smaller"
        " one, or clip_gradient, and check that the data are finite"
    )


def explained(error: Exception, who: str, x: Tensor, y: Tensor) -> ValueError:
    """An error of the user's model or loss, as a `ValueError` that describes their inputs."""
    if "more than 1 value per channel" in str(error):
        return ValueError(
            f"{who}: a BatchNorm layer without running statistics cannot normalise a batch of one sample;"
            " change batch_size (in evaluation, evaluation_batch), so that no batch has a single sample"
        )
    kinds = [str(t.dtype).removeprefix("torch.") for t in (x, y)]
    return ValueError(
        f"{who}: the model or its loss fails on samples of shape {tuple(x.shape[1:])} ({kinds[0]}) "
        f"with targets ({kinds[1]}) from {y.min().item()} to {y.max().item()}: {error}"
    )
