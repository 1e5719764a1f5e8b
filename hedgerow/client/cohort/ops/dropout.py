"""Dropout with the masks that each client would draw if trained alone."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hedgerow.client.cohort.step import Step

DROPOUTS: dict[type[nn.Module], bool] = {nn.Dropout: False, nn.Dropout1d: True, nn.Dropout2d: True}
"""Dropout layers, and whether they drop whole channels."""


def dropout(step: Step, x: Tensor, p: float, order: Sequence[int], *, channels: bool = False) -> Tensor:
    """Zero values with probability `p`, and scale the others by `1 / (1 - p)`.

    Args:
        step: has the generators to draw from, one value per sample and position.
        x: `(clients, batch, ...)`.
        p: probability.
        order: dimensions of one client's tensor from the outermost in memory to
            the innermost, as they are when the client is trained alone: torch
            draws in memory order.
        channels: drop whole channels of `(clients, batch, channels, ...)`.
    """
    if not p:
        return x  # like torch, without drawing
    counts = step.samples if step.drawn is None else step.drawn
    # One tensor for each generator: its client's rows, even if each row is its own client here.
    shape = [x.shape[0] * x.shape[1] // len(counts), *x.shape[2:]]
    if step.drawn is not None:
        order = range(len(shape))  # as in `SampleGradients`: one sample after another
    if channels:
        shape[2:] = [1] * len(shape[2:])
        order = range(len(shape))
    masks = torch.ones(len(counts), *shape, device=x.device)
    for mask, samples, generator in zip(masks, counts, step.generators, strict=True):
        if generator is not None and samples:
            ordered = torch.empty([samples if d == 0 else shape[d] for d in order], device=x.device)
            drawn = ordered.permute([list(order).index(d) for d in range(len(shape))])
            mask[:samples] = drawn.bernoulli_(1 - p, generator=generator)
    return x * masks.div_(1 - p).view(*x.shape[:2], *shape[1:])
