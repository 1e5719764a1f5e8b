"""Golden figures of clipping, noise, releases, accounts and private training, from drawn configurations."""

import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hedgerow.client import account
from hedgerow.client.torch import private as of_samples
from hedgerow.privacy.accounting import Budget
from hedgerow.privacy.events import Cyclic, Gaussian, PoissonSampled, Skellam, to_json
from hedgerow.privacy.ledger import Ledger
from hedgerow.rng import generator, seeded_source
from hedgerow.server.private import Bounded, clip_norm
from hedgerow.server.private import event as next_event
from hedgerow.server.rounds import begin
from hedgerow.strategies import Strategy, cyclic, dp_fedavg, dp_ftrl, poisson, secure_dp_fedavg
from hedgerow.strategies.norms import clipped, l2_norm, square_sum
from hedgerow.strategies.release import Noise
from hedgerow.strategies.transforms import client_noise
from hedgerow.strategies.transforms.client_noise import distributed_noise, randomized_round, skellam_noise
from hedgerow.strategies.transforms.clipping import adaptive_clip, clip
from hedgerow.strategies.transforms.noise import banded_noise, gaussian_noise
from hedgerow.types import Fit, Layout, LocalTraining, Model, Payload, Samples
from tests.golden.accounting_pins import BOTH, digest
from tests.laws.transform_cases import context_for


def vector(n: int, scale: float, purpose: str = "values") -> np.ndarray:
    """`(n,) float32`, normal, the same on every machine."""
    return (generator(n, purpose).normal(size=n) * scale).astype(np.float32)


def norms() -> list[Any]:
    """Norms and clips of vectors of many lengths and sizes, and of whole numbers."""
    found = []
    for n in (0, 1, 5, 4096, 4097, 8191, 8192, 8193, 24_576, 30_000):
        for scale in (1e-25, 1e-17, 1.0, 1e3, 1e21):
            x = vector(n, scale)
            bound = float(scale * max(1, n) ** 0.5 * (0.9 if n % 2 else 0.1))
            found.append([square_sum(x), l2_norm(x), digest(clipped(x, bound))])
    whole = (vector(5000, 100.0)).astype(np.int16)
    return [*found, square_sum(whole)]


def clips() -> list[Any]:
    """Names, what is sent of a vector, and how an adaptive norm goes on."""
    own, found = random.Random(1), list[Any]()
    for _ in range(6):
        bound, n = 10 ** own.uniform(-3, 3), own.randrange(1, 50)
        step, payload = clip(bound), Payload({"values": vector(n, bound)})
        found.append([step.name, digest(step.encode(payload, {}, context_for(n))[0].values), step.summable])
        found.append(
            [step.unbiased, step.kinds, step.protection.server_clip.norm({}), digest(payload.values)]
        )
    for _ in range(8):
        first, quantile, rate = 10 ** own.uniform(-5, 4), own.uniform(0.1, 0.9), own.uniform(0.1, 3)
        step = adaptive_clip(first, quantile, rate, own.uniform(0.01, 0.5))
        server, norms = step.protection.server_clip, list[float]()
        state = {**server.init(), "other": np.ones(1)}
        for _ in range(4):
            state = server.update(state, own.random())
            norms.append(server.norm(state))
        found.append([step.name, step.summable, step.unbiased, server.share, norms, sorted(state)])
    server = adaptive_clip().protection.server_clip
    return [*found, server.norm(server.init()), server.share, server.norm(server.update(server.init(), 0.9))]


def rounded() -> list[Any]:
    """Whole numbers of clipped vectors, where many draws are rejected and where none is."""
    own, found = random.Random(2), list[Any]()
    for n in (1, 2, 7, 60, 400):
        for unit in (2.0**-12, 0.25, 1.0):
            norm = own.uniform(0.5, 3)
            limit = own.choice((None, norm, norm / 3))
            step = randomized_round(unit, norm, limit)
            x = clipped(vector(n, norm), norm)
            context = context_for(n, seed=own.randrange(9), round=own.randrange(1, 9))
            sent, _ = step.encode(Payload({"values": x}), {}, context)
            found.append(
                [step.name, step.unbiased, step.summable, step.protection.max_int(0), digest(sent.values)]
            )
            found.append(digest(step.decode(sent, n, context).values))
            found.append(client_noise.rounded_norm(norm / unit, n))
    return found


def client_noises() -> list[Any]:
    """What clients send with their noise, its reach alone and summed, and the events that are counted."""
    own, found = random.Random(3), list[Any]()
    made = [
        (distributed_noise, 16),
        (distributed_noise, 32),
        *((skellam_noise, bits) for bits in (8, 16, 32)),
    ]
    for make, bits in made:
        for n in (1, 20, 300):
            norm, honest = own.uniform(0.5, 2), own.randrange(1, 6)
            unit = 2.0 ** -(3 if bits == 8 else own.randrange(6, 9))
            multiplier = 0.5 if bits == 8 else own.uniform(1, 3)
            step, context = make(multiplier, norm, unit, honest, bits), context_for(n, round=n)
            whole = np.zeros(n, np.int32)
            whole[0] = int(norm / unit)
            sent, _ = step.encode(Payload({"values": whole}), {}, context)
            kept = step.protection
            found.append(
                [step.name, step.summable, kept.max_int(5), kept.max_sum(7, 9, n), digest(sent.values)]
            )
            noise, turns = kept.noise, cyclic(4, population=40)
            found.append([noise.multiplier, noise.min_honest, noise.bands])
            found.append([to_json(noise.event(turns, 3, number)) for number in (None, n)])
    return found


def skellam_events() -> list[Any]:
    """Variances and norms, for drawn noise and for any number of values; and the units that fit."""
    own, found = random.Random(4), list[Any]()
    for _ in range(25):
        multiplier, norm, honest = (
            10 ** own.uniform(-1, 1.5),
            10 ** own.uniform(-0.5, 4),
            own.randrange(1, 90),
        )
        n = own.choice((None, 0, 1, 2, 30, 100_000))
        found.append(to_json(client_noise.skellam_event(multiplier, norm, honest, n)))
        bits, clients = own.choice((8, 16, 24, 32)), own.randrange(1, 60)
        limit = own.choice((None, norm / 10))
        unit = client_noise.unit_for(norm, multiplier, honest, bits, clients=clients, range=limit)
        found.append([unit, client_noise.unit_for(norm, multiplier, honest, bits)])
    return found


STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "plain": lambda: dp_fedavg(0.7, 1.3, 1e-5, sampling=poisson(9, population=50)),
    "everybody": lambda: dp_fedavg(0.7, 1.3, 1e-5, sampling=poisson(50, population=50)),
    "adaptive": lambda: dp_fedavg(
        0.7, 1.3, 1e-5, clip_quantile=0.4, clip_share=0.1, sampling=poisson(9, population=50)
    ),
    "bands": lambda: dp_ftrl(0.7, 1.3, 1e-5, bands=3, horizon=9, sampling=cyclic(9, population=50)),
    "clients": lambda: secure_dp_fedavg(0.7, 1.3, 1e-5, sampling=cyclic(9, population=50)),
    "skellam": lambda: secure_dp_fedavg(0.7, 1.3, 1e-5, noise="skellam", sampling=cyclic(9, population=50)),
}


def releases() -> list[Any]:
    """Four releases in turn of each kind of strategy: sums, states, digests, events and norms."""
    found = []
    for name, make in STRATEGIES.items():
        strategy, layout = make(), Layout.flat(6)
        release, state = strategy.release, begin(strategy, Model(np.zeros(6, np.float32)), layout)
        kept = {key: value for key, value in state.private.items() if key != "releases"}
        found.append(
            [name, release.extra, release.largest_norm, {k: v.tolist() for k, v in state.private.items()}]
        )
        for number in range(1, 5):
            norm = release.norm(kept)
            told = [release.contribution(vector(6, scale), norm) for scale in (0.1, 0.3, 5.0)]
            total = sum(np.rint(each.astype(float) * 2**36).astype(np.int64) for each in told)
            out = release(total, kept, seeded_source(1, "noise", round=number))
            found.append(
                [norm, release.sigma(norm, len(total)), release.sensitivity(norm), digest(np.array(told))]
            )
            found.append([out.digest, digest(out.delta), {k: v.tolist() for k, v in out.state.items()}])
            kept = out.state
        found.append([to_json(next_event(strategy, state)), clip_norm(strategy, state)])
        counting = Bounded(0.5)
        found.append([counting.size(strategy, layout), [counting.fitting(strategy, n) for n in (3, 10**6)]])
    return found


def sigmas() -> list[Any]:
    """Standard deviations in units, and what noise keeps; bands, names and events of steps at the server."""
    own, found = random.Random(5), list[Any]()
    for _ in range(20):
        column = (1.0, *(own.random() for _ in range(own.randrange(4))))
        noise, n = Noise(own.uniform(0.1, 9), column), own.randrange(0, 10**6)
        found.append(
            [noise.sigma(10 ** own.uniform(-9, 2), n), [list(v.shape) for v in noise.init(3).values()]]
        )
    for step in (gaussian_noise(1.5), banded_noise(1.5, 3, 20)):
        noise = step.protection.noise
        found.append([step.name, step.summable, step.kinds, noise.bands, noise.multiplier, noise.min_honest])
        for sampling in (poisson(5, population=20), poisson(20, population=20), cyclic(5, population=20)):
            found.append(to_json(noise.event(sampling, 7, None)))
    return [*found, Noise(1.0).bands, Noise(1.0).min_honest]


LOCAL = LocalTraining(
    learning_rate=0.5, batch_size=8, clip_samples=0.7, sample_noise=1.1, sample_rate=0.3, sample_delta=1e-5,
    sample_epsilon=9.0,
)  # fmt: skip


def sample_steps() -> list[Any]:
    """Batches, noise, seeds and gradients of steps on samples."""
    found: list[Any] = []
    parameters = [torch.zeros(2, 3), torch.zeros(4)]
    samples = Samples(vector(60, 1.0).reshape(20, 3), np.arange(20))

    def taken(index: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(samples.x[index]), torch.from_numpy(samples.y[index])

    for number, client in ((1, "a"), (2, "a"), (1, "b")):
        chance = of_samples.chance(True, seed=4, round=number, client=client)
        found.append([chance.batch(2).tolist(), chance.noise(2).tolist(), chance.model(3, b"x")])
        found.append([of_samples.poisson_batch(20, rate, chance.batch).tolist() for rate in (0.05, 0.5, 1.0)])
        asked: list[Any] = []

        class Sums:
            def fixed_sum(self, x, y, largest, seed, asked=asked):
                asked.append([digest(x.numpy()), y.tolist(), largest, [seed(k) for k in range(len(y))]])
                return torch.arange(10) * len(y) * 1000

        for step in (0, 1):
            gradients = of_samples.private_step(
                Sums(), taken, samples, parameters, LOCAL, chance, step, "client",
            )  # fmt: skip
            found.append([asked, [digest(g.numpy()) for g in gradients]])
    return found


def accounts() -> list[Any]:
    """Events, budgets, epsilon, and an account in memory that is opened for one round after another."""
    found: list[Any] = []
    for local in (LOCAL, LocalTraining(
        batch_size=4, clip_samples=1.0, sample_noise=30.0, sample_rate=1.0, sample_delta=1e-4, epochs=3,
        sample_adjacency="replace", max_steps=2,
    )):  # fmt: skip
        own, state = account.budget(local), dict[str, np.ndarray]()
        found.append([to_json(account.event(local)), own.delta, own.epsilon, own.adjacency])
        found.append([account.spent(local, 1), account.most_spent(local, 1)])
        for number in (4, 4, 9):
            opened = account.spend("a", local, number, None, lambda state=state: state, seeded=True)
            opened.record(number, Fit(vector(3, 1.0), np.empty(0, np.float32), 1))
            state = account.remember(state, number)
            entries = opened._ledger._entries.items()
            found.append([state["rounds"].tolist(), [[*key, to_json(e), n] for key, (e, n) in entries]])
    return found


def ledger_lines() -> list[Any]:
    """Lines as they are written, once for each release, and what is read of them."""
    with tempfile.TemporaryDirectory() as folder:
        file, one = Path(folder) / "privacy.jsonl", Cyclic(Skellam(400, 3.0, 7.0), 4, 1)
        for adjacency in BOTH:
            ledger = Ledger(Budget(1e-5, adjacency=adjacency), file)
            ledger.write(1, one, "a", noise="system")
            ledger.write(1, one, "a", noise="system")
            ledger.write(2, PoissonSampled(0.5, Gaussian(2.0)), adjacency, noise="seeded", times=1)
            ledger.write(
                2, Gaussian(2.0), adjacency + "!", noise="system", times=3, sample_gradients="opacus"
            )
        again = Ledger(Budget(1e-5), file)
        return [
            [json.loads(line) for line in file.read_text().splitlines()], again.releases,
            sorted([repr(event), n] for event, n in again._counted().items()),
        ]  # fmt: skip


TABLES: dict[str, Callable[[], Any]] = {
    made.__name__: made
    for made in (
        norms, clips, rounded, client_noises, skellam_events, releases, sigmas, sample_steps, accounts,
        ledger_lines,
    )
}  # fmt: skip
