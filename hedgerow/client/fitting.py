"""What every trainer does alike around its steps: the order of the samples, and what it refuses."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hedgerow.rng import generator
from hedgerow.types import Fit, Layout, LocalTraining, Model, Samples, Vector
from hedgerow.types.training import Diverged

REMEDY = (
    "give the task its own loss, such as mse_loss for numbers, or"
    " binary_cross_entropy_with_logits for targets 0 and 1"
)
"""For targets that cross entropy cannot take."""


def epochs(
    number: int, local: LocalTraining, *, seed: int, round: int, client: str
) -> Iterator[list[NDArray[np.int64]]]:
    """The batches of each epoch, as positions of the samples: a new permutation for every epoch.

    The last batch of an epoch may be smaller than the others.

    >>> [[len(batch) for batch in epoch] for epoch in epochs(
    ...     5, LocalTraining(batch_size=2, epochs=2), seed=0, round=1, client="a")]
    [[2, 2, 1], [2, 2, 1]]
    """
    shuffle = generator(seed, "shuffle", round=round, client=client)
    size = local.batch_size or number
    for _ in range(local.epochs):
        order = shuffle.permutation(number)
        yield [order[first : first + size] for first in range(0, number, size)]


def check_samples(data: Samples, who: str) -> None:
    """Refuse samples that no model can take.

    Raises:
        ValueError: there are none, or `x` is neither float32 nor int64.
    """
    if len(data) == 0:
        raise ValueError(f"{who}: there are no samples; there must be at least one")
    if data.x.dtype not in (np.float32, np.int64):
        raise ValueError(
            f"{who}: x is {data.x.dtype}; it must be float32 (`x.astype('float32')`), or int64 for characters"
        )


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
            f" which must add up to 1; {REMEDY}"
        )


def check_model(model: Model, layout: Layout) -> None:
    """Raise `ValueError` if a model's vectors are not those of the layout."""
    for what, length in (
        ("parameters", layout.dimension),
        ("buffers", layout.buffer_size),
        ("constants", layout.constant_size),
    ):
        values: Vector = getattr(model, what)
        if values.shape != (length,) or values.dtype != np.float32:
            raise ValueError(
                f"the model's {what} are {values.dtype} of shape {values.shape}; "
                f"this trainer's layout has float32 of shape ({length},)"
            )


def unfit(error: Exception, who: str, x: Any, y: Any) -> ValueError:
    """An error that a batch has caused, as a `ValueError` that describes its samples and targets.

    Args:
        error: what was raised.
        who: whose samples they are.
        x: arrays of numpy or torch, `(n, ...)`.
        y: the same for the targets.
    """
    kinds = [str(t.dtype).removeprefix("torch.") for t in (x, y)]
    return ValueError(
        f"{who}: the model or its loss fails on samples of shape {tuple(x.shape[1:])} ({kinds[0]}) "
        f"with targets ({kinds[1]}) from {y.min().item()} to {y.max().item()}: {error}"
    )


def finite(fit: Fit, who: str, learning_rate: float) -> Fit:
    """The fit as it is.

    Args:
        fit: with its `"loss"`, unless that is kept secret.
        who: whose it is.
        learning_rate: of the round.

    Raises:
        Diverged: not all of it is finite.
    """
    loss = fit.metrics.get("loss", 0.0)
    if not (np.isfinite(loss) and np.isfinite(fit.delta).all() and np.isfinite(fit.buffers).all()):
        raise Diverged(
            f"{who}: training diverged (loss {loss:g}); the learning rate was "
            f"{learning_rate:g}: try a smaller one, or clip_gradient, "
            f"and check that the data are finite"
        )
    return fit
