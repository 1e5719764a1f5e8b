"""Clients trained side by side, and each alone."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from torch import nn

from hedgerow.client.cohort import CohortTrainer
from hedgerow.client.cohort.autotune.choice import Choice
from hedgerow.client.task import Task
from hedgerow.types import Fit, LocalTraining, Samples

Clients = Sequence[tuple[str, Samples]]
Fits = Mapping[str, Fit]


def both(
    model: Callable[[], nn.Module], some: Clients, local: LocalTraining, *, batch_clients: int = 4
) -> tuple[Fits, Fits]:
    """What clients get side by side, and what each gets alone."""
    trainer = CohortTrainer(Task(model), choice=Choice("batch", "", batch_clients, 2))
    start = trainer.initial(1)
    together = dict(trainer.fit_many(start, some, local, seed=3, round=2))
    alone = {n: trainer.fit(start, d, local, seed=3, round=2, client=n) for n, d in some}
    return together, alone


def check_equal(together: Fits, alone: Fits) -> None:
    """To rounding, client by client."""
    assert together.keys() == alone.keys()
    for client, expected in alone.items():
        np.testing.assert_allclose(together[client].delta, expected.delta, rtol=0, atol=1e-6)
        assert together[client].metrics["loss"] == pytest.approx(expected.metrics["loss"], abs=1e-5)


def check_company(
    model: Callable[[], nn.Module], some: Clients, local: LocalTraining, batch_clients: int, min_batch: int
) -> None:
    """The same bits for a client, whoever is trained beside it, and in which order."""
    trainer = CohortTrainer(Task(model), choice=Choice("batch", "", batch_clients, min_batch))
    start = trainer.initial(1)
    first = dict(trainer.fit_many(start, some, local, seed=3, round=2))
    for order in (some[::-1], some[2:5], some[3:4]):
        again = dict(trainer.fit_many(start, order, local, seed=3, round=2))
        for name, fit in again.items():
            assert fit.delta.tobytes() == first[name].delta.tobytes(), name


def check_one_diverges(model: Callable[[], nn.Module], some: Clients, value: float) -> None:
    """The second of four clients has data that training does not survive: the others do not notice,
    nor does anyone in the next round."""
    broken = Samples(np.full_like(some[1][1].x, value), some[1][1].y)
    trainer = CohortTrainer(Task(model), choice=Choice("batch", "", 2, 2))
    start, local = trainer.initial(1), LocalTraining()
    usual = dict(trainer.fit_many(start, some, local, seed=3, round=2))
    mixed = dict(trainer.fit_many(start, [some[0], ("broken", broken), *some[2:]], local, seed=3, round=2))
    assert isinstance(mixed["broken"].error, ValueError)
    for name in (some[0][0], some[2][0], some[3][0]):
        assert mixed[name].delta.tobytes() == usual[name].delta.tobytes()
    after = dict(trainer.fit_many(start, some, local, seed=3, round=2))
    assert {n: fit.delta.tobytes() for n, fit in after.items()} == {
        n: fit.delta.tobytes() for n, fit in usual.items()
    }
