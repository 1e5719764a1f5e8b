"""Clients that take unlike numbers of steps: side by side each gets what it gets alone."""

import numpy as np
import pytest

from hedgerow.client.cohort import CohortTrainer
from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.types import LocalTraining
from tests.laws.cohort_cases import SHIPPED, shipped

SIZES = [12, 7, 5, 12, 30, 1]
LIMITS = [1, 3, 4, 7, 5, 2]
CASES = {
    **{name: SHIPPED[name] for name in ("logistic", "cnn-small", "gru-char")},
    "first layer without weights": shipped("mlp-2nn", (784,), hidden=32),
    "wide layer without weights": shipped("mlp-2nn", (64,), hidden=512),
}
LOCALS = {
    "plain": LocalTraining(learning_rate=0.05, epochs=3, batch_size=4),
    "momentum": LocalTraining(learning_rate=0.02, epochs=3, batch_size=4, momentum=0.9, proximal=0.1),
    "clipped samples": LocalTraining(learning_rate=0.05, epochs=3, batch_size=4, clip_samples=0.5),
    "whole data": LocalTraining(learning_rate=0.05, epochs=5, batch_size=0),
}


@pytest.mark.parametrize("option", LOCALS)
@pytest.mark.parametrize("name", CASES)
def test_a_client_with_fewer_steps_gets_in_a_batch_what_it_gets_alone(name, option):
    case, local = CASES[name], LOCALS[option]
    trainer = CohortTrainer(Task(case.factory), mode="batch", batch_clients=3)
    model, some = trainer.initial(2), case.clients(SIZES)
    limits = {client: limit for (client, _), limit in zip(some, LIMITS, strict=True) if client != "client 3"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trainer, "_alone", None)  # a batch that fails would be made up for in the loop
        got = dict(trainer.fit_many(model, some, local, seed=4, round=1, max_steps=limits))
    for client, data in some:
        own = local.at_most(limits.get(client, 0))
        alone = trainer.fit(model, data, own, seed=4, round=1, client=client)
        np.testing.assert_allclose(got[client].delta, alone.delta, rtol=0, atol=2e-6)
        assert got[client].metrics["loss"] == pytest.approx(alone.metrics["loss"], rel=1e-5)
        assert np.abs(alone.delta).max() > 1e-4


def test_with_unlike_steps_a_client_gets_the_same_bits_whoever_it_is_trained_with():
    case, local = SHIPPED["cnn-small"], LocalTraining(epochs=3, batch_size=4)
    trainer = CohortTrainer(Task(case.factory), mode="batch", batch_clients=4)
    model, some = trainer.initial(2), case.clients(SIZES)
    limits = {client: limit for (client, _), limit in zip(some, LIMITS, strict=True)}

    def fits(clients):
        found = trainer.fit_many(model, clients, local, seed=4, round=1, max_steps=limits)
        return {client: fit.delta.tobytes() for client, fit in found}

    together = fits(some)
    assert fits(some[::-1]) == together
    assert fits(some[:2]) == {client: together[client] for client, _ in some[:2]}


@pytest.mark.parametrize("batch_size", [4, 0])
def test_fewer_steps_are_the_first_of_all_steps(batch_size):
    case = SHIPPED["logistic"]
    ((client, data),) = case.clients([10])
    trainer = TorchTrainer(Task(case.factory))
    model, twice = trainer.initial(0), LocalTraining(epochs=2, batch_size=batch_size)

    def delta(local):
        return trainer.fit(model, data, local, seed=1, round=1, client=client).delta.tobytes()

    epoch = LocalTraining(batch_size=batch_size)
    assert delta(twice.at_most(epoch.steps(10))) == delta(epoch)
    assert delta(twice.at_most(100)) == delta(twice) != delta(epoch)
    deltas = [delta(twice.at_most(steps)) for steps in range(1, twice.steps(10) + 1)]
    assert len(set(deltas)) == twice.steps(10)
