"""An epsilon says which two federations it tells apart, and is right for either, by other computations."""

import json
import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.signal import fftconvolve
from scipy.stats import norm

from hedgerow import LocalTraining
from hedgerow.client.account import budget, spent
from hedgerow.privacy.accounting import Budget, counted_delta, counted_epsilon, epsilon, renyi_epsilon
from hedgerow.privacy.events import Cyclic, Gaussian, PoissonSampled, Skellam
from hedgerow.privacy.ledger import Ledger
from hedgerow.privacy.planning import solve
from hedgerow.strategies import calibrated, cyclic, dp_fedavg, dp_ftrl, poisson, secure_dp_fedavg

DELTA = 1e-4


def analytic(apart: float, multiplier: float, rounds: int, delta: float) -> float:
    """Epsilon of sums that are so many clip norms apart (Balle, Wang 2018, arXiv:1805.06530, theorem 8)."""
    mu = apart * math.sqrt(rounds) / multiplier

    def excess(eps: float) -> float:
        return float(norm.cdf(mu / 2 - eps / mu) - math.exp(eps) * norm.cdf(-mu / 2 - eps / mu)) - delta

    return float(brentq(excess, 0, 200)) if excess(0) > 0 else 0.0


def by_convolution(rate: float, multiplier: float, rounds: int, delta: float, apart: str) -> float:
    """Epsilon of sampled sums: the distribution of the loss on a fine grid, convolved with itself."""
    step, reach = 2e-3, 12 * multiplier + 2
    x = np.linspace(-reach, reach, 50_001)
    nobody = norm.pdf(x, 0, multiplier)
    p = (1 - rate) * nobody + rate * norm.pdf(x, 1, multiplier)
    other = (1 - rate) * nobody + rate * norm.pdf(x, -1, multiplier)
    pairs = [(p, other)] if apart == "replace" else [(p, nobody), (nobody, p)]
    found = []
    for upper, lower in pairs:
        loss = np.rint(np.log(upper / lower) / step).astype(int)
        first = loss.min()
        one = np.bincount(loss - first, weights=upper * (x[1] - x[0]))
        total = one
        for _ in range(rounds - 1):
            total = np.maximum(fftconvolve(total, one), 0)
        losses = step * (np.arange(len(total)) + rounds * first)

        def excess(eps: float, losses=losses, total=total) -> float:
            return float((total * np.maximum(0, 1 - np.exp(np.minimum(eps - losses, 0)))).sum()) - delta

        found.append(brentq(excess, 0, 100))
    return max(found)


def test_five_sums_of_the_recipe_cost_8_57_where_data_are_replaced_and_3_68_where_they_are_left_out():
    events = [Cyclic(Gaussian(2.3), 10, round) for round in range(1, 51)]
    for adjacency, apart, known in (("zero_out", 1, 3.68), ("replace", 2, 8.57)):
        found = epsilon(events, DELTA, adjacency)
        assert found == pytest.approx(analytic(apart, 2.3, 5, DELTA), rel=1e-3)
        assert round(found, 2) == known


@settings(deadline=None, max_examples=2)
@given(st.floats(3, 20), st.integers(1, 20))
def test_replacing_costs_what_a_gaussian_of_half_the_noise_does(multiplier, rounds):
    events = [Gaussian(multiplier)] * rounds
    found = epsilon(events, DELTA, "replace")
    assert found == pytest.approx(analytic(2, multiplier, rounds, DELTA), rel=2e-3, abs=2e-3)
    assert found >= epsilon(events, DELTA)
    assert found <= renyi_epsilon(events, DELTA, "replace")
    assert counted_epsilon(events[0], rounds, DELTA, adjacency="replace") == pytest.approx(found)
    delta = counted_delta(events[0], rounds, found, adjacency="replace")
    assert delta == pytest.approx(DELTA, rel=0.02) or found == 0


@pytest.mark.parametrize(
    ("rate", "multiplier", "rounds", "adjacency"), [(0.1, 1.0, 3, "replace"), (0.3, 2.0, 3, "zero_out")]
)
def test_of_sampled_clients_epsilon_is_that_of_a_convolution(rate, multiplier, rounds, adjacency):
    events = [PoissonSampled(rate, Gaussian(multiplier))] * rounds
    found = epsilon(events, DELTA, adjacency)
    assert found == pytest.approx(by_convolution(rate, multiplier, rounds, DELTA, adjacency), rel=0.01)
    assert found <= renyi_epsilon(events, DELTA, adjacency)


def test_skellam_noise_counts_twice_the_norms():
    event, twice = Skellam(10_000, 40.0, 300.0), Skellam(10_000, 80.0, 600.0)
    assert epsilon([event] * 3, DELTA, "replace") == pytest.approx(epsilon([twice] * 3, DELTA))
    assert epsilon([event] * 3, DELTA, "replace") > 1.9 * epsilon([event] * 3, DELTA)


SAMPLING = {"sampling": cyclic(50, population=500)}
MAKERS = {
    "gaussian": lambda noise, **given: secure_dp_fedavg(0.5, noise, DELTA, 2.0, **SAMPLING, **given),
    "skellam": lambda noise, **given: secure_dp_fedavg(
        0.5, noise, DELTA, 2.0, noise="skellam", **SAMPLING, **given
    ),
    "ftrl": lambda noise, **given: dp_ftrl(0.5, noise, DELTA, 2.0, bands=4, **SAMPLING, **given),
    "sampled": lambda noise, **given: dp_fedavg(
        0.5, noise, DELTA, 2.0, sampling=poisson(50, population=500), **given
    ),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_noise_that_is_calibrated_for_replacement_is_enough_for_it_and_no_less_would_do(make):
    once, twice = (
        calibrated(partial(make, adjacency=adjacency), rounds=20) for adjacency in ("zero_out", "replace")
    )
    assert (once.budget.adjacency, twice.budget.adjacency) == ("zero_out", "replace")
    ledger = Ledger(twice.budget)
    for number in range(1, 21):
        ledger.write(number, twice.release.noise.event(twice.sampling, number, 10_000), "", noise="system")
    assert 0.97 * 2.0 <= ledger.epsilon <= 2.0
    times = twice.release.noise.multiplier / once.release.noise.multiplier
    # Where chance is counted on, most of a replaced client's loss is that it was drawn at all.
    assert times == pytest.approx(2.0, rel=0.02) if twice.sampling.groups else 1.05 < times <= 2.0


def test_a_ledger_names_its_adjacency_and_its_facts_can_be_counted_for_the_other(tmp_path):
    file = tmp_path / "privacy.jsonl"
    ledger = Ledger(Budget(DELTA, adjacency="replace"), file)
    for number in range(5):
        ledger.write(number, Gaussian(2.3), str(number), noise="system")
    assert round(ledger.epsilon, 2) == 8.57
    assert {json.loads(line)["adjacency"] for line in file.read_text().splitlines()} == {"replace"}
    assert round(Ledger(Budget(DELTA), file).epsilon, 2) == 3.68


def test_a_budget_for_replacement_ends_earlier():
    budget = Budget(DELTA, epsilon=4.0, adjacency="replace")
    assert not Ledger(budget).allows(Gaussian(2.3), times=5)
    assert Ledger(Budget(DELTA, epsilon=4.0)).allows(Gaussian(2.3), times=5)


def test_samples_have_the_choice_too():
    one = {"clip_samples": 1.0, "sample_noise": 1.1, "sample_rate": 0.25, "sample_delta": DELTA}
    left_out, replaced = LocalTraining(**one), LocalTraining(**one, sample_adjacency="replace")
    assert budget(replaced).adjacency == "replace"
    known = [by_convolution(0.25, 1.1, 4, DELTA, adjacency) for adjacency in ("zero_out", "replace")]
    assert [spent(left_out, 1), spent(replaced, 1)] == pytest.approx(known, rel=0.01)


def test_a_plan_for_replacement_has_a_quarter_of_the_rounds():
    plan = {"epsilon": 2.0, "delta": 1e-5, "noise_multiplier": 6.0, "rate": 1.0}
    assert solve(**plan).rounds // 4 == solve(**plan, adjacency="replace").rounds


@pytest.mark.parametrize("rate", [0.001, 0.05, 0.4])
def test_where_data_are_replaced_a_divergence_is_at_most_that_of_the_sampled_mixture(rate):
    """By convexity, `exp((a - 1) D) <= 1 - q + q exp((a - 1) a / (2 (z / 2)^2))`."""
    noise, delta = 4.0, 1e-5
    orders = np.linspace(1.01, 200, 40_000)
    steps = orders - 1
    mixed = np.logaddexp(np.log1p(-rate), np.log(rate) + steps * orders / (2 * (noise / 2) ** 2)) / steps
    best = (10 * mixed + np.log1p(-1 / orders) - np.log(delta * orders) / steps).min()
    found = renyi_epsilon([PoissonSampled(rate, Gaussian(noise))] * 10, delta, "replace")
    assert best * (1 - 1e-6) <= found <= best * 1.02


@pytest.mark.parametrize(
    "make",
    [
        lambda: Budget(DELTA, adjacency="swap"),
        lambda: dp_fedavg(adjacency="swap"),
        lambda: LocalTraining(sample_adjacency="swap"),
        lambda: solve(delta=DELTA, rounds=1, noise_multiplier=1.0, rate=1.0, adjacency="swap"),
    ],
)
def test_an_unknown_adjacency_is_refused_with_those_there_are(make):
    with pytest.raises(ValueError, match=r"swap.*zero_out.*replace"):
        make()


def test_a_samples_adjacency_without_noise_is_refused():
    with pytest.raises(ValueError, match="sample_adjacency is 'replace'; it goes with sample_noise"):
        LocalTraining(sample_adjacency="replace")
