"""Dropout with the masks that each client draws when it is trained alone."""

import numpy as np
import torch
from torch import Tensor, nn

from hedgerow.client.cohort.step import Step

DROPOUTS: dict[type[nn.Module], bool] = {nn.Dropout: False, nn.Dropout1d: True, nn.Dropout2d: True}
"""Dropout layers, and whether they drop whole channels."""


def dropout(step: Step, x: Tensor, p: float, *, channels: bool = False) -> Tensor:
    """Zero values with probability `p`, and scale the others by `1 / (1 - p)`.

    Args:
        step: has each client's draws.
        x: `(clients, batch, ...)`.
        p: probability.
        channels: drop whole channels of `(clients, batch, channels, ...)`.
    """
    if not p:
        return x  # like torch, without drawing
    if p == 1:
        return x * x.new_zeros(())
    clients, shape, rows, counts = len(step.draws), list(x.shape[1:]), step.rows, step.samples
    if channels:
        shape[2:] = [1] * len(shape[2:])
    sizes = len(x), *shape
    if step.drawn is not None:  # each row is a client of its own here, and draws belong to all rows of one
        rows, counts = len(x) // clients, step.drawn
        shape = [rows, *shape]
    axis = step.axis(shape)
    masks = np.ones((clients, *shape), np.bool_)
    for mask, samples, draws in zip(masks, counts, step.draws, strict=True):
        if draws is not None and samples:
            mask[:] = draws.mask(shape, 1 - p, axis=axis, rows=rows, samples=samples)
    kept = torch.from_numpy(masks).to(x.device, x.dtype).div_(1 - p)
    return x * kept.view(sizes)
