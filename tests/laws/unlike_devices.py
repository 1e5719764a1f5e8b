"""Clients with unlike devices on quadratics, in numpy, and FedNova as its paper writes it."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from hedgerow import rng
from hedgerow.simulation.devices.base import Devices
from hedgerow.types import Fit, Layout, LocalTraining, Model, Samples
from tests.support import Clients

DIMENSION = 3
LAYOUT = Layout.flat(DIMENSION)
STEP_SECONDS = (0.001, 0.5, 0.15, 2.0, 0.06, 0.3)
SIZES = (20, 11, 30, 5, 17, 24)
BUDGET = 1.0
LOCAL = LocalTraining(learning_rate=0.1, epochs=4, batch_size=5, time_budget=BUDGET)


@dataclass(frozen=True)
class Quadratic:
    """Learns the mean of the samples, with a step for each batch."""

    layout: Layout = LAYOUT
    supports: frozenset = frozenset({"max_steps", "momentum", "proximal", "weight_decay", "correction"})

    def initial(self, seed):
        start = rng.generator(seed, "initial model").normal(size=self.layout.dimension)
        return Model(start.astype(np.float32))

    def fit(self, model, data, local, *, seed, round, client, correction=None):
        start = model.parameters.astype(np.float64)
        w, velocity = start.copy(), np.zeros_like(start)
        for _ in range(local.steps(len(data))):
            gradient = w - data.x.mean(0) + local.proximal * (w - start) + local.weight_decay * w
            if correction is not None:
                gradient = gradient + correction
            velocity = local.momentum * velocity + gradient
            w = w - local.learning_rate_at(round) * velocity
        metrics = self.evaluate(Model(w.astype(np.float32)), data)
        return Fit((w - start).astype(np.float32), np.empty(0, np.float32), len(data), metrics)

    def evaluate(self, model, data):
        return {"loss": float(((model.parameters - data.x) ** 2).sum(1).mean())}


def clients(sizes=SIZES, dimension=DIMENSION, seed=0):
    made = {}
    for number, size in enumerate(sizes):
        x = rng.generator(seed, "samples", client=str(number)).normal(number - 2.0, 1, (size, dimension))
        made[f"client-{number}"] = Samples(x.astype(np.float32), np.zeros(size, np.int64))
    return Clients(made)


def devices(step_seconds=STEP_SECONDS, jitter=0.0):
    by_name = {f"client-{number}": seconds for number, seconds in enumerate(step_seconds)}
    return Devices(f"{step_seconds} {jitter}", partial(_described, by_name), jitter)


def _described(by_name, seed, client):
    return ("slow" if by_name[client] > 0.2 else "fast"), by_name[client]


def steps_of(local, size, seconds):
    """As many whole steps as fit, at least one, at most all."""
    most = local.epochs * -(-size // local.batch_size)
    return max(1, min(most, int(local.time_budget / seconds)))


def a_vector(steps, local):
    """The paper's `a_i`: how much each gradient counts in the change (section 3, its examples of solvers)."""
    back = np.arange(steps, 0, -1)
    if local.momentum:
        return (1 - local.momentum**back) / (1 - local.momentum)
    return (1 - local.learning_rate * (local.proximal + local.weight_decay)) ** (back - 1.0)


def fednova(data, local, start, rounds, steps):
    """`x - tau_eff sum_i p_i eta d_i`, with `d_i = G_i a_i / |a_i|_1` and `tau_eff = sum_i p_i |a_i|_1`.

    `G_i` has the gradients that the solver meets; weight decay pulls to zero, so that its pull at the
    start belongs to them, and what it adds on the way to `a_i`, as that of a proximal term does.
    """
    x, eta = start.astype(np.float64), local.learning_rate
    total = sum(len(data.samples(name)) for name in data.names)
    for _ in range(rounds):
        moved, reach = np.zeros_like(x), 0.0
        for name in data.names:
            share, centre = len(data.samples(name)) / total, data.samples(name).x.mean(0, dtype=np.float64)
            gradients, y, velocity = [], x.copy(), np.zeros_like(x)
            for _ in range(steps[name]):
                gradients.append(y - centre + local.weight_decay * x)
                pull = (local.proximal + local.weight_decay) * (y - x)
                velocity = local.momentum * velocity + gradients[-1] + pull
                y = y - eta * velocity
            a = a_vector(steps[name], local)
            moved += share * eta * (np.array(gradients).T @ a) / a.sum()
            reach += share * a.sum()
        x = x - reach * moved
    return x
