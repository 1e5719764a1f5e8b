"""A round has the noise that its ledger says: the right sigma is accepted, 2/3 and 3/2 of it are not.

Power: an estimate of a standard deviation from n normal values has a relative
error of 1 / sqrt(2 n). With n = 2000 that is 1.6 %; a band of 10 % refuses the
right sigma with probability 1e-9, and accepts one that is off by half (33 % or
50 % away) with less than 1e-80.
"""

import numpy as np
import pytest

from hedgerow import rng
from hedgerow.client.app import client_app
from hedgerow.privacy.accounting import Budget
from hedgerow.server.rounds import begin, rounds
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies import Strategy, dp_fedavg, parse_pipeline, poisson
from hedgerow.strategies.release import UNIT, Noise, NoisyAggregation, ServerClip
from hedgerow.types import Deployment, Fit, Layout, Model
from tests.support import Clients, clients

D = 1000
LAYOUT = Layout.flat(D)
BAND = 0.1


class FixedTrainer:
    """Every client always sends the same delta, of norm 1; what is left of a round is its noise."""

    layout = LAYOUT

    def initial(self, seed):
        return Model(np.zeros(D, np.float32))

    def fit(self, model, data, local, *, seed, round, client):
        return Fit(self.delta(), np.empty(0, np.float32), len(data), {})

    def evaluate(self, model, data):
        return {}

    @staticmethod
    def delta():
        return np.full(D, 1 / np.sqrt(D), np.float32)


def releases(strategy: Strategy, data: Clients, count: int, seed: int = 0, seeded: bool = True):
    """`(cohort size, delta of the model)` of each round."""
    trainer = FixedTrainer()
    deployment = Deployment.SIMULATED if seeded else Deployment.REAL
    with InProcessGrid(client_app(trainer, data, strategy), len(data.names), names=data.names) as grid:
        state = begin(strategy, trainer.initial(seed), trainer.layout)
        before = state.model.parameters
        for result in rounds(
            grid, strategy, state, LAYOUT, num_rounds=count, seed=seed, deployment=deployment
        ):
            after = result.state.model.parameters
            yield len(result.cohort) - len(result.dropped), after.astype(np.float64) - before
            before = after


def noise_of(strategy: Strategy, norm: float, expected: float, seeded: bool = True) -> np.ndarray:
    """Noise of two rounds, as it stands in the released sum."""
    found = []
    for cohort, delta in releases(strategy, clients(40), 2, seeded=seeded):
        clipped = FixedTrainer.delta() * min(1.0, norm)
        found.append(delta * expected - cohort * clipped)
    return np.concatenate(found)


def accepted(noise: np.ndarray, sigma: float) -> bool:
    return bool(abs(noise.std() / sigma - 1) < BAND and abs(noise.mean()) < 6 * sigma / np.sqrt(len(noise)))


@pytest.mark.parametrize("seeded", [True, False], ids=["seeded", "system"])
@pytest.mark.parametrize(("norm", "multiplier"), [(0.5, 1.0), (0.5, 0.3), (0.02, 2.0)])
def test_the_right_sigma_is_accepted_and_two_thirds_and_three_halves_are_not(norm, multiplier, seeded):
    strategy = dp_fedavg(norm, multiplier, delta=1e-3, sampling=poisson(10, population=40))
    noise = noise_of(strategy, norm, expected=10, seeded=seeded)
    sigma = norm * multiplier
    assert accepted(noise, sigma)
    assert not accepted(noise, 2 / 3 * sigma)
    assert not accepted(noise, 3 / 2 * sigma)


def test_noise_is_the_same_whatever_the_pipeline_compresses():
    for compressed in ("quantize(16)", "random_k(1.0)"):
        strategy = dp_fedavg(
            0.5, 1.0, delta=1e-3, sampling=poisson(10, population=40), pipeline=parse_pipeline(compressed)
        )
        assert accepted(noise_of(strategy, 0.5, expected=10), 0.5)


def test_an_empty_cohort_releases_noise_all_the_same():
    strategy = dp_fedavg(0.5, 1.0, delta=1e-3, sampling=poisson(0.001, population=1000))
    ((cohort, delta),) = releases(strategy, clients(3), 1)
    assert cohort == 0
    assert accepted(delta * 0.001, 0.5)


def test_rounds_and_seeds_have_independent_noise():
    strategy = dp_fedavg(0.5, 1.0, delta=1e-3, sampling=poisson(10, population=40))
    drawn = [noise_of(strategy, 0.5, expected=10)[:D], noise_of(strategy, 0.5, expected=10)[D:]]
    drawn += [
        delta * 10 - cohort * FixedTrainer.delta() * 0.5
        for cohort, delta in releases(strategy, clients(40), 1, seed=1)
    ]
    # 1 / sqrt(1000) is the spread of a correlation of independent values: 6 of it by chance in 1e-9.
    assert np.abs(np.corrcoef(drawn) - np.eye(3)).max() < 6 / np.sqrt(D)
    again = noise_of(strategy, 0.5, expected=10)[:D]
    assert np.array_equal(drawn[0], again), "a simulation can be repeated"


def test_noise_of_a_real_run_is_never_the_same():
    strategy = dp_fedavg(0.5, 1.0, delta=1e-3, sampling=poisson(40, population=40))
    assert not np.array_equal(*(noise_of(strategy, 0.5, 40, seeded=False) for _ in range(2)))


def test_adaptive_clipping_pays_for_its_answers():
    """With a share s of the squared sensitivity, the delta has 1 / sqrt(1 - s) of the noise."""
    share = 0.3
    pipeline = parse_pipeline(f"chain(adaptive_clip(0.5, share={share}), gaussian_noise(1.0))")
    strategy = Strategy(pipeline=pipeline, sampling=poisson(40, population=40), budget=Budget(1e-3))
    ((cohort, delta),) = releases(strategy, clients(40), 1)
    noise = delta * 40 - cohort * FixedTrainer.delta() * 0.5
    assert accepted(noise, 0.5 / np.sqrt(1 - share))
    assert not accepted(noise, 0.5)


@pytest.mark.parametrize("within", [0, 3, 7, 10])
def test_the_fraction_of_clients_within_the_norm_is_what_they_answered(within):
    told = []
    server_clip = ServerClip(
        lambda state: 1.0, share=0.3, update=lambda state, share: told.append(share) or state
    )
    release = NoisyAggregation(server_clip, Noise(1e-6), expected=10, most_clients=10)
    lengths = np.array([0.5] * within + [2.0] * (10 - within), np.float32)
    sent = [release.contribution(np.array([length, 0], np.float32), 1.0) for length in lengths]
    total = np.rint(np.sum(sent, axis=0, dtype=np.float64) / UNIT).astype(np.int64)
    release(total, {}, rng.seeded_source(3, "noise"))
    assert told == [pytest.approx(within / 10, abs=1e-4)]


@pytest.mark.parametrize("initial", [0.01, 30.0])
def test_an_adaptive_norm_finds_the_quantile_under_noise(initial):
    """Norms of the clients are uniform from 0 to 2: the 0.7 quantile is 1.4."""
    pipeline = parse_pipeline(f"chain(adaptive_clip({initial}, 0.7, 0.3, share=0.1), gaussian_noise(1.0))")
    strategy = Strategy(pipeline=pipeline, sampling=poisson(200, population=200), budget=Budget(1e-3))
    release, state = strategy.release, strategy.release.server_clip.init()
    random = rng.generator(3, "norms")
    for number in range(1, 121):
        norm = release.server_clip.norm(state)
        total = np.zeros(9, np.int64)
        for length in random.uniform(0, 2, 200):
            delta = np.zeros(8, np.float32)
            delta[0] = length
            total += np.rint(release.contribution(delta, norm).astype(np.float64) * 2**36).astype(np.int64)
        state = release(total, state, rng.seeded_source(3, "noise", round=number)).state
    assert 1.2 < release.server_clip.norm(state) < 1.6


def test_poisson_cohorts_are_independent_coin_flips():
    names = [f"c{i:03d}" for i in range(400)]
    sampling = poisson(20, population=400)
    drawn = np.array([[n in set(cohort) for n in names] for cohort in (
        sampling.choose(names, 9, r) for r in range(1, 501))])  # fmt: skip
    assert abs(drawn.mean() - 0.05) < 5 * np.sqrt(0.05 * 0.95 / drawn.size)
    assert abs(drawn.sum(1).var() / (400 * 0.05 * 0.95) - 1) < 5 * np.sqrt(2 / 500), "sizes are binomial"
    together = (drawn[:, :-1] & drawn[:, 1:]).mean()
    assert abs(together - 0.05**2) < 5 * np.sqrt(0.05**2 / drawn.size)
    fixed = np.array([20] * 500)
    assert abs(fixed.var() / (400 * 0.05 * 0.95) - 1) > 5 * np.sqrt(2 / 500), "a fixed cohort is noticed"
