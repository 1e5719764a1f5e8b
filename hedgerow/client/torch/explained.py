"""Errors of a user's model, loss or metric, explained with what it was given."""

from typing import Any

from torch import Tensor

from hedgerow.client.fitting import unfit


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


def explained(error: Exception, who: str, x: Tensor, y: Tensor) -> ValueError:
    """An error of the user's model or loss, as a `ValueError` that describes their inputs."""
    if "more than 1 value per channel" in str(error):
        return ValueError(
            f"{who}: a BatchNorm layer without running statistics cannot normalise a batch of one sample;"
            " change batch_size (in evaluation, evaluation_batch), so that no batch has a single sample"
        )
    return unfit(error, who, x, y)
