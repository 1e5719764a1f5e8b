"""Clients trained side by side get what each gets alone, to rounding."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from hedgerow.client.cohort import Choice, CohortTrainer
from hedgerow.client.task import Task
from hedgerow.models import MODELS
from hedgerow.types import LocalTraining, Model
from tests.laws.cohort_cases import OPTIMIZERS, OWN, SHIPPED, UNCLIPPED, corrections_of, shipped, trainer_of

# Of local training; the correction is an argument of each fit.
OPTIONS = {
    "plain": {},
    "weight decay": {"weight_decay": 0.1},
    "proximal": {"proximal": 0.5},
    "clipped gradient": {"clip_gradient": 0.3},
    "clipped samples": {"clip_samples": 0.5},
    "correction": {},
    "everything": {
        "weight_decay": 0.01, "proximal": 0.1, "clip_gradient": 0.4, "clip_samples": 0.6,
        "learning_rate_decay": 0.5,
    },
}  # fmt: skip

CORRECTED = ("correction", "everything")

NORMS_TOLERANCE = 2e-5
"""Three or four values are divided by their spread, which may be small: 4.1e-6 apart at most in 350 fits.
The loop in float32 is as far from itself in float64 as from the batch."""


def close_but_for_tiny_gradients(got, alone):
    """To 1e-6, but for few values whose gradient is near Adam's epsilon, 1e-8, and so mostly rounding.

    Adam divides a gradient by its own size: 1e-9 more of it is a tenth of a step more. Measured in 2,900
    fits of the shipped models: 4.5e-5 at most, where a step is 1e-3, and every value of SGD within 5e-7.
    """
    apart = np.abs(got - alone)
    assert np.mean(apart > 1e-6) < 0.01
    assert apart.max() < 2e-4


def compare(name, sizes, local, round=1, tolerance=1e-6, corrected=False):
    trainer, model = trainer_of(name)
    clients = {**SHIPPED, **OWN}[name].clients(sizes)
    corrections = corrections_of(trainer, clients) if corrected else None
    trainer.choose(model, clients, local, seed=4, round=round)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trainer, "_alone", None)  # a batch that fails would be made up for in the loop
        got = dict(trainer.fit_many(model, clients, local, seed=4, round=round, corrections=corrections))
    assert got.keys() == {client for client, _ in clients}
    assert trainer.choice.method == "batch"
    for client, data in clients:
        correction = corrections[client] if corrections else None
        alone = trainer.fit(model, data, local, seed=4, round=round, client=client, correction=correction)
        if local.optimizer == "adam":
            close_but_for_tiny_gradients(got[client].delta, alone.delta)
        else:
            np.testing.assert_allclose(got[client].delta, alone.delta, rtol=0, atol=tolerance)
        np.testing.assert_allclose(got[client].buffers, alone.buffers, rtol=0, atol=tolerance)
        assert got[client].metrics == {"loss": pytest.approx(alone.metrics["loss"], rel=2e-6, abs=2e-6)}
        assert got[client].num_examples == len(data)
        assert np.abs(alone.delta).max() > 1e-4


def test_every_shipped_model_is_here():
    assert SHIPPED.keys() == set(MODELS.names())


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", SHIPPED)
@settings(max_examples=2, deadline=None, derandomize=True)
@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=5), batch_size=st.sampled_from([0, 3, 4, 10]))
def test_a_client_in_a_batch_gets_what_it_gets_alone(name, optimizer, option, sizes, batch_size):
    local = dataclasses.replace(OPTIMIZERS[optimizer], batch_size=batch_size, **OPTIONS[option])
    compare(name, sizes, local, round=3, corrected=option in CORRECTED)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
@pytest.mark.parametrize("name", OWN)
@settings(max_examples=4, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    batch_size=st.sampled_from([0, 1, 4]),
    option=st.sampled_from(["plain", "clipped samples", "everything"]),
)
def test_a_users_own_model_too(name, optimizer, sizes, batch_size, option):
    tolerance = 1e-6
    if name in UNCLIPPED:
        option = "correction"
    if name == "norms":
        # Of two samples BatchNorm makes +1 and -1, whatever they are: its gradient is mostly rounding.
        sizes, tolerance = [n + (n % 4 == 2) for n in sizes], NORMS_TOLERANCE
    local = dataclasses.replace(OPTIMIZERS[optimizer], batch_size=batch_size, **OPTIONS[option])
    compare(name, sizes, local, tolerance=tolerance, corrected=option in CORRECTED)


def test_a_batch_that_must_not_grow_narrower_gives_the_same_to_rounding():
    case = SHIPPED["cnn-small"]
    pinned = CohortTrainer(Task(case.factory), choice=Choice("batch", "", batch_clients=4, min_batch=4))
    model, clients = pinned.initial(2), case.clients([9, 2, 5, 5, 30])
    for client, fit in pinned.fit_many(model, clients, LocalTraining(), seed=1, round=1):
        alone = pinned.fit(model, dict(clients)[client], LocalTraining(), seed=1, round=1, client=client)
        np.testing.assert_allclose(fit.delta, alone.delta, rtol=0, atol=1e-6)


def test_loop_and_batch_agree_over_twenty_rounds():
    case = shipped("mlp-2nn", (12,), hidden=16)
    task, clients = Task(case.factory), case.clients([3, 20, 11, 7, 40, 1])
    local = LocalTraining(learning_rate_decay=0.99)
    finals = []
    for mode in ("loop", "batch"):
        trainer = CohortTrainer(task, mode=mode)
        model = trainer.initial(0)
        for round in range(1, 21):
            fits = dict(trainer.fit_many(model, clients, local, seed=1, round=round))
            mean = np.mean([fits[name].delta for name, _ in clients], axis=0, dtype=np.float64)
            model = Model((model.parameters + mean).astype(np.float32))
        finals.append(model.parameters)
    np.testing.assert_allclose(finals[0], finals[1], rtol=0, atol=1e-5)
    assert np.abs(finals[0] - trainer.initial(0).parameters).max() > 0.1


def test_own_losses_see_samples_and_no_filling():
    def spread(outputs, targets):
        # Not a mean over samples: it would notice a row more.
        return F.mse_loss(outputs[:, 0], targets.float()) + outputs.std(0, correction=0).mean()

    case = SHIPPED["mlp-2nn"]
    trainer = CohortTrainer(Task(case.factory, loss=spread), mode="batch", batch_clients=3)
    model, local = trainer.initial(0), LocalTraining(learning_rate=0.02, batch_size=4)
    clients = case.clients([4, 6, 9, 3, 8])
    for client, fit in trainer.fit_many(model, clients, local, seed=1, round=1):
        alone = trainer.fit(model, dict(clients)[client], local, seed=1, round=1, client=client)
        np.testing.assert_allclose(fit.delta, alone.delta, rtol=0, atol=1e-6)
