"""Noise so small that epsilon says nothing is counted too, in memory that does not grow, and never below."""

import json
import math
import resource
from pathlib import Path

import pytest
from dp_accounting import get_epsilon_gaussian
from dp_accounting.rdp.rdp_privacy_accountant import compute_epsilon

import hedgerow as hr
from hedgerow.client.app import client_app
from hedgerow.privacy.accounting import (
    LARGEST,
    _divergence,
    counted_delta,
    counted_epsilon,
    epsilon,
    renyi_epsilon,
)
from hedgerow.privacy.events import Gaussian, PoissonSampled
from hedgerow.privacy.planning import Plan, _smallest, solve
from hedgerow.server.app import train
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies import dp_fedavg, poisson
from hedgerow.types import RoundResult
from tests.support import MeanTrainer, clients

LITTLE = [1e-300, 1e-154, 1e-7, 1e-3, 0.01, 0.02, 0.05, 0.1, 0.2]


@pytest.fixture(autouse=True)
def little_memory():
    """What would take gigabytes fails at once."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, before)


@pytest.mark.parametrize("multiplier", LITTLE)
@pytest.mark.parametrize("count", [1, 100, 10**6])
def test_epsilon_of_little_noise_is_the_exact_one_and_never_below(multiplier, count):
    found, together = counted_epsilon(Gaussian(multiplier), count, 1e-5), multiplier / count**0.5
    if together < 1e-9:  # less than the exact formula can do
        assert found > 0.5 / 1e-9**2
        return
    exact = get_epsilon_gaussian(together, 1e-5)
    assert exact * (1 - 1e-9) <= found
    # Beyond, Renyi divergences of whole orders, which are up to twice as much.
    assert found <= exact * (1.001 if found <= LARGEST else 2.1)


def test_without_noise_worth_the_name_every_delta_is_one():
    assert counted_delta(Gaussian(1e-200), 1, 1.0) == 1.0
    assert counted_delta(Gaussian(1e-200), 3, 1e9) == 1.0


@pytest.mark.parametrize("rate", [1e-6, 1e-3, 0.5])
@pytest.mark.parametrize("multiplier", LITTLE[:-2])
def test_epsilon_of_sampled_clients_grows_as_noise_gets_less_and_rounds_more(rate, multiplier):
    event, noisier = (
        PoissonSampled(rate, Gaussian(multiplier)),
        PoissonSampled(rate, Gaussian(1.5 * multiplier)),
    )
    assert (
        counted_epsilon(noisier, 10, 1e-5)
        <= counted_epsilon(event, 10, 1e-5)
        <= counted_epsilon(event, 20, 1e-5)
    )
    assert 0 <= counted_delta(event, 10, 2.0) <= 1


def run(folder: Path, multiplier: float, epsilon: float | None, trained: list[str]) -> list[RoundResult]:
    class Trainer(MeanTrainer):
        def fit(self, model, samples, local, **options):
            trained.append(options["client"])
            return super().fit(model, samples, local, **options)

    strategy = dp_fedavg(0.5, multiplier, 1e-5, epsilon, sampling=poisson(4, population=12))
    trainer, data = Trainer(), clients(12)
    app = client_app(trainer, data, strategy, deployment=hr.Deployment.SIMULATED)
    with InProcessGrid(app, 12, names=data.names) as grid:
        return list(
            train(
                grid, strategy, trainer.initial(0), trainer.layout, num_rounds=3, folder=folder,
                deployment=hr.Deployment.SIMULATED,
            )
        )  # fmt: skip


def test_a_run_with_hardly_any_noise_goes_on(tmp_path):
    results = run(tmp_path, 1e-7, None, [])
    assert len(results) == 3
    assert all(not result.failed for result in results)
    assert results[0].epsilon > 1e13
    assert results[0].epsilon < results[2].epsilon < math.inf
    lines = (tmp_path / "privacy.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"]["event"]["noise_multiplier"] for line in lines] == [1e-7] * 3


def test_where_it_would_pass_the_budget_or_does_not_fit_nobody_trains(tmp_path):
    trained: list[str] = []
    assert run(tmp_path / "a", 1e-7, 5.0, trained) == []
    with pytest.raises(ValueError, match="take a smaller clip norm or noise multiplier"):
        run(tmp_path / "b", 1e9, None, trained)
    assert trained == []


EXTREMES = {
    "epsilon": (1e-6, 1e6), "delta": (1e-12, 1e-5), "rounds": (1, 10**6),
    "noise_multiplier": (1e-7, 1e6), "rate": (1e-6, 1.0),
}  # fmt: skip


def corners(wanted: str) -> list[dict[str, float]]:
    others = [name for name in EXTREMES if name != wanted]
    return [{name: EXTREMES[name][c >> i & 1] for i, name in enumerate(others)} for c in range(16)]


def solved(given: dict[str, float]) -> Plan | None:
    try:
        return solve(**given)
    except ValueError as error:
        remedies = ("more noise", "less noise", "larger epsilon", "smaller epsilon")
        if not any(remedy in str(error) for remedy in remedies):
            raise
        return None


@pytest.mark.slow
@pytest.mark.parametrize("wanted", EXTREMES)
def test_at_the_extremes_a_plan_is_solved_on_the_safe_side_or_refused(wanted):
    some = corners(wanted)[:: 3 if wanted == "noise_multiplier" else 1]  # two seconds each
    plans = [plan for given in some if (plan := solved(given)) is not None]
    assert plans
    for plan in plans:
        event = Gaussian(plan.noise_multiplier)
        sampled = event if plan.rate == 1 else PoissonSampled(plan.rate, event)
        assert counted_epsilon(sampled, plan.rounds, plan.delta) <= plan.epsilon * (1 + 1e-6)


TINY = [(80, 2.525), (96, 2.885), (128, 3.409), (192, 4.027), (256, 5.084), (512, 7.336), (1024, 59.864)]
PLAIN = [(127, 22.34), (128, 23.3), (141, 24.9), (155, 27.3), (1042, 198.0), (10263, 2150.0)]


@pytest.mark.parametrize(
    ("event", "order"),
    [(PoissonSampled(1e-3, Gaussian(noise)), order) for order, noise in TINY]
    + [(Gaussian(noise), order) for order, noise in PLAIN],
)
def test_the_best_of_the_orders_is_tried(event, order):
    """Other orders would be no lie, but give other figures than the ledgers have that are written."""
    divergence = _divergence(event, (order,), "zero_out")
    expected = compute_epsilon([order], divergence, 1e-9)[0]
    assert renyi_epsilon([event], 1e-9) == pytest.approx(expected, rel=1e-12)


def test_a_number_that_no_budget_holds_back_is_a_billionth_of_where_the_search_began():
    for start in (1.0, 8.0):
        found = _smallest("rate", start, lambda _: True)
        assert start * 1e-9 / 1.5 < found <= start * 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wanted", "rounds", "rate"), [(1e-6, 1, 1.0), (1e6, 1, 1e-6), (1e6, 10**6, 1.0), (1e6, 10**6, 1e-6)]
)
def test_noise_for_an_extreme_budget_is_found(wanted, rounds, rate):
    def make(noise: float) -> hr.Strategy:
        population = round(10 / rate)
        return dp_fedavg(0.5, noise, 1e-5, wanted, sampling=poisson(10, population=population))

    noise = hr.calibrated(make, rounds).release.noise.multiplier
    event = Gaussian(noise) if rate == 1 else PoissonSampled(rate, Gaussian(noise))
    assert epsilon([event], 1e-5) <= counted_epsilon(event, rounds, 1e-5) <= wanted
