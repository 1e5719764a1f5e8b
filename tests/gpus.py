"""What tests on a GPU share; without one they are skipped."""

import numpy as np
import pytest
import torch

from hedgerow.client.cohort import Choice, CohortTrainer
from hedgerow.client.task import Task
from hedgerow.types import FailedFit, Fit

WHERE = {"seed": 3, "round": 2}

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no NVIDIA GPU here")

CLOSE = 2e-4
"""Of what a client learns in float32: the largest difference between a GPU and the CPU, relative to its norm.

TF32 would be off by some 1e-3; what rounding turns over (a ReLU, a maximum) is why it is not 1e-6."""


def apart(one: Fit, other: Fit) -> float:
    """The larger of the relative differences of what two fits have learned and of their buffers."""
    pairs = (one.delta, other.delta), (one.buffers, other.buffers)
    return max(float(np.linalg.norm(a - b)) / max(float(np.linalg.norm(b)), 1e-9) for a, b in pairs)


def bits(fit: Fit) -> tuple[bytes, bytes, dict[str, float]]:
    """All that a fit says."""
    return fit.delta.tobytes(), fit.buffers.tobytes(), dict(fit.metrics)


def alone(trainer, start, clients, local, corrections=None):
    return {
        name: trainer.fit(
            start, data, local, client=name, correction=corrections and corrections[name], **WHERE
        )
        for name, data in clients
    }


def side_by_side(case, start, clients, local, corrections=None):
    """All of them in batches: training one alone would raise."""
    trainer = CohortTrainer(Task(case.factory), choice=Choice("batch", "", 3, 2, device="cuda"))
    trainer.fit = None
    found = dict(trainer.fit_many(start, clients, local, corrections=corrections, **WHERE))
    errors = [fit.error for fit in found.values() if isinstance(fit, FailedFit)]
    assert not errors, errors
    return found
