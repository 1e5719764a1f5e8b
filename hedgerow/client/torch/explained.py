"""What a user's model, loss or metric did wrong, told with what it was given."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor


def total_of(name: str, values: Any, samples: int) -> float:
    """The sum of a metric's values, one for each sample.

    Raises:
        ValueError: the metric gives something else.
    """
    if isinstance(values, Tensor) and values.shape == (samples,):
        return values.double().sum().item()
    shape = tuple(values.shape) if isinstance(values, Tensor) else f"no tensor but {values!r}"
    raise ValueError(f"metric {name!r} gave {shape} for {samples} samples; it must give one value for each")


@contextmanager
def explained(who: str, x: Tensor, y: Tensor) -> Iterator[None]:
    """Errors of the user's model and loss, with what they were given."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if "more than 1 value per channel" in str(error):
            raise ValueError(
                f"{who}: a BatchNorm layer without running statistics cannot normalise a batch of one sample;"
                " change batch_size (in evaluation, evaluation_batch), so that no batch has a single sample"
            ) from error
        kinds = [str(t.dtype).removeprefix("torch.") for t in (x, y)]
        raise ValueError(
            f"{who}: the model or its loss fails on samples of shape {tuple(x.shape[1:])} ({kinds[0]}) "
            f"with targets ({kinds[1]}) from {y.min().item()} to {y.max().item()}: {error}"
        ) from error
