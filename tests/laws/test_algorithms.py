"""FedNova and FedDyn are their papers' algorithms: held to plain references in float64 over rounds."""

import re
from dataclasses import replace

import numpy as np
import pytest

import hedgerow as hr
from hedgerow.rng import generator
from tests.laws.test_scaffold import TASK, regression

LOCAL = hr.LocalTraining(learning_rate=0.05, epochs=2, batch_size=4)
ROUNDS, SEED, CHOSEN = 6, 3, 3


def steps_of(clients, name, round, local):
    """Yields the gradient of each batch, in the order in which Hedgerow goes through the samples."""
    data = clients.samples(name)
    shuffle = generator(SEED, "shuffle", round=round, client=name)
    for _ in range(local.epochs):
        order = shuffle.permutation(len(data))
        for first in range(0, len(data), local.batch_size):
            index = order[first : first + local.batch_size]
            inputs = np.column_stack([data.x[index].astype(np.float64), np.ones(len(index))])
            yield lambda y, inputs=inputs, index=index: inputs.T @ (inputs @ y - data.y[index]) / len(index)


def fednova(clients, strategy, start, local):
    """Equation 5: `x + tau sum_i p_i delta_i / ||a_i||_1` with `tau = sum_i p_i ||a_i||_1`."""
    x = start.astype(np.float64)
    for round in range(1, ROUNDS + 1):
        chosen = strategy.sampling.choose(clients.names, SEED, round)
        total = sum(len(clients.samples(name)) for name in chosen)
        pulls, far = np.zeros_like(x), 0.0
        for name in chosen:
            share, y, velocity, a = len(clients.samples(name)) / total, x.copy(), np.zeros_like(x), []
            for gradient in steps_of(clients, name, round, local):
                velocity = local.momentum * velocity + gradient(y) + local.proximal * (y - x)
                y = y - local.learning_rate * velocity
                # How much each gradient so far shows in `y`, after this step.
                a.append(1.0)
            count, m, pull = len(a), local.momentum, local.proximal * local.learning_rate
            weight = 0.0
            for first in range(count):  # the response to one gradient of 1 at this step
                moved = v = 0.0
                for k in range(first, count):
                    v = m * v + (1.0 if k == first else 0.0) - pull * moved
                    moved += v
                weight += moved
            pulls, far = pulls + share * (y - x) / weight, far + share * weight
        x = x + far * pulls
    return x


@pytest.mark.parametrize(
    "changed", [{}, {"momentum": 0.5}, {"proximal": 0.3}, {"momentum": 0.3, "proximal": 0.2}], ids=str
)
@pytest.mark.parametrize("trainer", ["loop", "batch"])
def test_fednova_is_the_papers_algorithm(trainer, changed):
    clients, local = regression(7), replace(LOCAL, **changed)
    strategy = hr.fednova(sampling=hr.uniform(CHOSEN), local=local)
    *_, last = hr.simulate(TASK, clients, strategy, rounds=ROUNDS, seed=SEED, trainer=trainer, device="cpu")
    start = hr.TorchTrainer(TASK).initial(SEED).parameters
    found = fednova(clients, strategy, start, local)
    np.testing.assert_allclose(last.state.model.parameters, found, rtol=1e-6, atol=2e-6)
    assert np.abs(found - start).max() > 0.5


def feddyn(clients, strategy, start, alpha):
    x, h = start.astype(np.float64), np.zeros(len(start))
    own = {name: np.zeros(len(start)) for name in clients.names}
    for round in range(1, ROUNDS + 1):
        moved = []
        for name in strategy.sampling.choose(clients.names, SEED, round):
            y = x.copy()
            for gradient in steps_of(clients, name, round, LOCAL):
                y = y - LOCAL.learning_rate * (gradient(y) - own[name] + alpha * (y - x))
            own[name] = own[name] - alpha * (y - x)
            moved.append(y - x)
        h = h - alpha / len(clients.names) * np.sum(moved, axis=0)
        x = x + np.mean(moved, axis=0) - h / alpha
    return x


@pytest.mark.parametrize("trainer", ["loop", "batch"])
@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_feddyn_is_the_papers_algorithm(trainer, alpha):
    clients = regression(7)
    strategy = hr.feddyn(alpha, sampling=hr.uniform(CHOSEN), local=LOCAL)
    *_, last = hr.simulate(TASK, clients, strategy, rounds=ROUNDS, seed=SEED, trainer=trainer, device="cpu")
    start = hr.TorchTrainer(TASK).initial(SEED).parameters
    found = feddyn(clients, strategy, start, alpha)
    np.testing.assert_allclose(last.state.model.parameters, found, rtol=1e-6, atol=5e-6)
    assert np.abs(found - start).max() > 0.5


@pytest.mark.parametrize("make", [hr.fednova, hr.feddyn])
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_resumed_it_ends_with_the_same_bits(tmp_path, make, workers):
    clients, strategy = regression(6), make(sampling=hr.uniform(3), local=LOCAL)
    *_, whole = hr.simulate(TASK, clients, strategy, rounds=7)
    run = hr.simulate(TASK, clients, strategy, rounds=7, workers=workers, folder=tmp_path)
    for _ in range(4):
        next(run)
    run.close()
    *_, last = hr.simulate(TASK, clients, strategy, rounds=7, workers=workers, folder=tmp_path)
    assert last.state.model.parameters.tobytes() == whole.state.model.parameters.tobytes()


REFUSED = {
    "use optimizer 'sgd'": (hr.fednova, {"local": hr.LocalTraining(optimizer="adam")}),
    "leave out clip_gradient": (hr.fednova, {"local": hr.LocalTraining(clip_gradient=1.0)}),
    "use mean()": (hr.fednova, {"aggregate": hr.median()}),
    "which adam rescales": (hr.feddyn, {"local": hr.LocalTraining(optimizer="adam")}),
    "use weighted=False": (hr.feddyn, {"weighted": True}),
    "alpha is 0": (hr.feddyn, {"alpha": 0}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_makes_no_sense_beside_it_is_refused(message):
    make, parts = REFUSED[message]
    with pytest.raises(ValueError, match=re.escape(message)):
        make(**parts)
