"""Correlated noise: what it protects, what it leaves in the model, and that a run with it can be resumed."""

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant

from hedgerow import rng
from hedgerow.client.app import client_app
from hedgerow.privacy.accounting import epsilon
from hedgerow.privacy.bands import optimal_bands, prefix_error
from hedgerow.privacy.discrete_gaussian import discrete_gaussian
from hedgerow.privacy.events import Cyclic, Gaussian
from hedgerow.server.app import train
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies import banded_noise, chain, clip, cyclic, dp_ftrl, gaussian_noise, poisson
from hedgerow.strategies.release import UNIT, Noise
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Deployment
from tests.support import MeanTrainer, clients

BANDS, ROUNDS = 4, 24


def matrix(bands: tuple[float, ...], rounds: int) -> np.ndarray:
    found = np.zeros((rounds, rounds))
    for j, band in enumerate(bands):
        found += band * np.eye(rounds, k=-j)
    return found


@pytest.mark.parametrize("rounds", [12, 100, 400])
def test_bands_are_never_worse_than_fewer_nor_than_the_square_root_cut_off(rounds):
    errors = [prefix_error(np.array(optimal_bands(b, rounds)), rounds) for b in (1, 2, 3, 6, 12)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] == (rounds + 1) / 2
    for b in (2, 3, 6, 12):
        root = np.cumprod([1.0, *((2 * j - 1) / (2 * j) for j in range(1, b))])
        best = np.array(optimal_bands(b, rounds))
        assert prefix_error(best, rounds) <= prefix_error(root, rounds)
        # A minimum: a step in any direction makes it worse.
        for step in np.eye(b)[1:] * 0.01:
            assert min(prefix_error(best + s * step, rounds) for s in (1, -1)) > prefix_error(best, rounds)


def test_prefix_error_is_that_of_the_matrices():
    bands = optimal_bands(BANDS, ROUNDS)
    sums = np.tril(np.ones((ROUNDS, ROUNDS)))
    noise = sums @ np.linalg.inv(matrix(bands, ROUNDS))
    expected = np.square(noise).sum() * np.square(bands).sum() / ROUNDS
    assert prefix_error(np.array(bands), ROUNDS) == pytest.approx(expected)


def test_the_noise_of_a_run_is_the_factorisations():
    """Independent noise with the same sensitivity is refused, and so is another band."""
    strategy = dp_ftrl(0.5, 2.0, bands=BANDS, horizon=ROUNDS, sampling=cyclic(10, population=40))
    release, n = strategy.release, 2000
    state, rounds = release.init(n), []
    for number in range(1, ROUNDS + 1):
        before = state
        released = release(np.zeros(n, np.int64), state, rng.seeded_source(1, "noise", round=number))
        state = released.state
        assert before["noise"].shape == (BANDS - 1, n)
        rounds.append(released.delta.astype(np.float64) * release.expected)
    bands = optimal_bands(BANDS, ROUNDS)
    drawn = matrix(bands, ROUNDS) @ np.array(rounds)
    sigma = 2.0 * 0.5 * np.sqrt(np.square(bands).sum())
    spread = 6 / np.sqrt(n)
    assert np.abs(np.corrcoef(drawn) - np.eye(ROUNDS)).max() < spread
    assert np.abs(drawn.std(axis=1) / sigma - 1).max() < spread
    assert np.abs(np.corrcoef(np.array(rounds)) - np.eye(ROUNDS)).max() > spread, (
        "independent noise is noticed"
    )
    wrong = matrix((1.0, *bands[1:-1], 0.0), ROUNDS) @ np.array(rounds)
    assert np.abs(np.corrcoef(wrong) - np.eye(ROUNDS)).max() > spread, "a missing band is noticed"
    model = np.cumsum(np.array(rounds), axis=0)
    assert model[-1].std() < 0.6 * sigma / np.sqrt(np.square(bands).sum()) * np.sqrt(ROUNDS)


def test_what_is_taken_off_of_earlier_noise_is_rounded_to_the_nearest_unit():
    """Half a unit for each value is what `Noise.sigma` covers; cutting off would take up to a whole one."""
    noise, n = Noise(1.0, bands=(1.0, 0.7, 0.3)), 1000
    past = np.random.default_rng(5).integers(-100, 100, (2, n))
    found, state = noise.draw(10, n, {"noise": past}, rng.seeded_source(1, "noise"))
    drawn = discrete_gaussian(10, n, rng.seeded_source(1, "noise"))
    assert np.abs(found + 0.7 * past[0] + 0.3 * past[1] - drawn).max() <= 0.5 + 1e-9
    assert np.array_equal(state["noise"], [found, past[0]])


def test_one_client_changes_all_releases_together_by_no_more_than_the_ledger_says():
    """Given what was released, two neighbouring runs need different draws, and these differ by so much."""
    strategy = dp_ftrl(0.5, 1.0, bands=BANDS, horizon=ROUNDS, sampling=cyclic(10, population=40))
    release, n, random = strategy.release, 50, np.random.default_rng(2)
    sigma = release.sigma(0.5, n)
    for first in range(BANDS):
        turns = range(first, ROUNDS, BANDS)
        moved = np.zeros((ROUNDS, n), np.int64)
        for turn in turns:
            delta = random.normal(size=n).astype(np.float32)
            moved[turn] = np.rint(release.contribution(delta, 0.5).astype(np.float64) / UNIT)
        noise = np.zeros((2, BANDS - 1, n), np.int64)
        total = np.zeros(ROUNDS)
        for turn in range(ROUNDS):
            let_out = random.integers(-(2**40), 2**40, n)  # any release at all
            drawn = []
            for run, own in enumerate((np.zeros(n, np.int64), moved[turn])):
                past = {"noise": noise[run]}
                taken_off, _ = release.noise.draw(1, n, past, lambda k: np.zeros(k, np.uint64))
                kept = let_out - own  # the noise that this run must have had
                drawn.append(kept - taken_off)
                noise[run] = np.concatenate([kept[None], noise[run][:-1]])
            total[turn] = np.square((drawn[1] - drawn[0]).astype(np.float64)).sum()
        each = [total[turn : turn + BANDS].sum() for turn in turns]
        assert max(each) ** 0.5 <= sigma
        assert total.sum() ** 0.5 <= sigma * np.sqrt(len(each))
        assert total.sum() ** 0.5 >= 0.9 * sigma * np.sqrt(len(each)), "the bound is nearly reached"


def reference(noise: float, count: int) -> float:
    accountant = PLDAccountant()
    accountant.compose(dp_accounting.GaussianDpEvent(noise), count)
    return float(accountant.get_epsilon(1e-5))


def test_the_ledger_counts_the_rounds_of_the_client_that_is_in_most():
    events = [Cyclic(Gaussian(3.0), groups=4, round=r) for r in range(1, 11)]
    assert epsilon(events, 1e-5) == pytest.approx(reference(3.0, 3), rel=1e-6)
    assert epsilon(events[:4], 1e-5) == epsilon([Gaussian(3.0)], 1e-5)
    repeated = [*events, events[2]]
    assert epsilon(repeated, 1e-5) == pytest.approx(reference(3.0, 4), rel=1e-6), "run again: counts for all"


def test_cohorts_take_turns_whoever_joins_and_leaves():
    sampling = cyclic(5, population=42)
    assert sampling.groups == 8
    names = [f"c{i:03d}" for i in range(60)]
    last: dict[str, int] = {}
    for number in range(1, 60):
        there = names[number % 7 :: 1 + number % 2]
        for name in sampling.choose(there, 3, number):
            assert number - last.get(name, -8) >= 8
            last[name] = number
    assert set(last) == set(names)


@pytest.mark.parametrize(
    ("sampling", "bound", "says"),
    [
        (
            cyclic(10, population=20),
            clip(1.0),
            r"over 3 rounds, and cyclic.* lets a client be in two.*use cyclic",
        ),
        (poisson(10, population=30), clip(1.0), r"poisson.* lets a client be in two"),
    ],
)
def test_bands_over_which_a_client_could_be_twice_are_refused(sampling, bound, says):
    budget = dp_ftrl().budget
    with pytest.raises(ValueError, match=says):
        Strategy(pipeline=chain(bound, banded_noise(1.0, 3, 10)), sampling=sampling, budget=budget)
    assert Strategy(pipeline=chain(bound, gaussian_noise(1.0)), sampling=sampling, budget=budget).private


def run(folder, count, workers=1):
    strategy = dp_ftrl(
        0.5, 1.0, 1e-3, bands=3, horizon=12, sampling=cyclic(4, population=12), server_momentum=0.5
    )
    trainer, data = MeanTrainer(), clients(12)
    app = client_app(trainer, data, strategy)
    with InProcessGrid(app, 12, names=data.names, workers=workers) as grid:
        yield from train(
            grid, strategy, trainer.initial(0), trainer.layout,
            num_rounds=count, folder=folder, deployment=Deployment.SIMULATED,
        )  # fmt: skip


def test_stopped_and_resumed_the_noise_goes_on_where_it_was(tmp_path):
    whole = list(run(tmp_path / "whole", 9))
    for result in run(tmp_path / "stopped", 9):
        if result.round == 5:
            break
    last = list(run(tmp_path / "stopped", 9))[-1]
    assert np.array_equal(last.state.model.parameters, whole[-1].state.model.parameters)
    assert np.array_equal(last.state.private["noise"], whole[-1].state.private["noise"])
    assert last.epsilon == whole[-1].epsilon == pytest.approx(epsilon([Gaussian(1.0)] * 3, 1e-3))
    assert [r.epsilon for r in whole][:3] == [whole[0].epsilon] * 3, (
        "a round of other clients costs nothing more"
    )


@pytest.mark.parametrize(
    "given", [{"number": 0, "rounds": 3}, {"number": 2, "rounds": 0}, {"number": 1.5, "rounds": 3}]
)
def test_bands_and_rounds_are_whole_numbers_of_at_least_one(given):
    with pytest.raises(ValueError, match=r"(number|rounds) is (0|1\.5)"):
        optimal_bands(**given)
