"""Skellam noise is counted at no less than it costs: against divergences that are summed up one by one."""

import json
import math

import dp_accounting
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ive

from hedgerow.privacy.accounting import Budget, epsilon, renyi_epsilon, skellam_divergence
from hedgerow.privacy.events import Cyclic, Gaussian, PoissonSampled, Skellam, from_json, to_json
from hedgerow.privacy.ledger import Ledger
from hedgerow.privacy.planning import solve
from hedgerow.strategies.transforms.client_noise import rounded_norm, skellam_event

DELTA = 1e-5
whole = st.integers(1, 10**9)
events = st.builds(Skellam, whole, st.floats(0.5, 1e6), st.floats(0.5, 1e9))


def divergence(shift: int, variance: float, order: int) -> float:
    """Renyi's divergence of Skellam noise and the same noise moved by `shift`, summed over all numbers."""
    reach = int(order * abs(shift) + 16 * math.sqrt(variance) + 40)
    k = np.arange(-reach, reach + 1, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        moved, still = np.log(ive(np.abs(k - shift), variance)), np.log(ive(np.abs(k), variance))
        terms = order * moved + (1 - order) * still
    terms = terms[np.isfinite(terms)]
    top = terms.max()
    assert min(top - terms[0], top - terms[-1]) > 25, "the sum holds all that matters"
    return float(top + np.log(np.exp(terms - top).sum())) / (order - 1)


@pytest.mark.parametrize("variance", [4, 25, 400, 10_000])
@pytest.mark.parametrize("shift", [1, 2, 5])
def test_the_bound_is_at_or_above_the_divergence_itself(variance, shift):
    for order in (2, 3, 8, 20):
        if order * shift > 3 * variance:  # beyond what a double holds
            continue
        exact = divergence(shift, variance, order)
        bound = skellam_divergence(Skellam(variance, shift, shift), order)
        assert exact <= bound * (1 + 1e-9)
        gaussian = order * shift**2 / (2 * variance)
        assert bound >= gaussian
        if variance >= 400:
            assert bound <= 1.01 * gaussian + 1e-4 * shift
        # A bound for ten per cent more noise than there is would be too low.
        if variance >= 400:
            assert exact > skellam_divergence(Skellam(int(1.1 * variance), shift, shift), order)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12).filter(any), st.sampled_from([30, 300, 3000]))
def test_in_many_dimensions_too(vector, variance):
    """Divergences of independent numbers add up."""
    l2, l1 = math.hypot(*vector), float(sum(map(abs, vector)))
    assert l1 <= min(l2**2, math.sqrt(len(vector)) * l2) * (1 + 1e-12)
    for order in (2, 5):
        exact = sum(divergence(x, variance, order) for x in vector if x)
        assert exact <= skellam_divergence(Skellam(variance, l2, l1), order) * (1 + 1e-9)


def reference(released: list[tuple[Skellam, int]], gaussian: float = 0.0) -> float:
    """Theorem 3.5 of arXiv:2110.04995 as dp-accounting's zero-concentrated events: its branches are lines."""
    found = []
    for branch in (0, 1):
        accountant = dp_accounting.rdp.RdpAccountant(list(range(2, 3000)))
        for e, count in released:
            rho, xi = e.l2**2 / (2 * e.variance), 3 * e.l1 / (2 * e.variance)
            if branch:
                rho += e.l2**2 / (2 * e.variance**2)
                xi = max(0.0, (6 * e.l1 - e.l2**2) / (4 * e.variance**2))
            accountant.compose(dp_accounting.ZCDpEvent(rho, xi), count)
        if gaussian:
            accountant.compose(dp_accounting.GaussianDpEvent(gaussian))
        found.append(accountant.get_epsilon(DELTA))
    return min(found)


@pytest.mark.parametrize(
    ("event", "count"),
    [
        (skellam_event(4.0, 4096.0, 40, 100_000), 40),
        (skellam_event(1.0, 20.0, 40, 100), 3),
        (Skellam(3, 1.0, 1.0), 1),
        (Skellam(40, 2.0, 4.0), 10),
        (skellam_event(30.0, 200.0, 10, 1000), 1),
    ],
)
def test_epsilon_is_that_of_dp_accounting_within_a_percent_and_never_below(event, count):
    found, expected = epsilon([event] * count, DELTA), reference([(event, count)])
    assert expected * (1 - 1e-9) <= found <= expected * 1.01
    mixed = epsilon([event] * count + [Gaussian(5.0)], DELTA)
    expected = reference([(event, count)], 5.0)
    assert expected * (1 - 1e-9) <= mixed <= expected * 1.01
    assert mixed > found


@given(st.integers(1, 200), st.floats(0.5, 20), st.integers(1, 10**6), st.floats(1, 5000))
@settings(max_examples=60, deadline=None)
def test_epsilon_is_never_under_the_gaussian_of_the_same_variance(count, multiplier, n, norm):
    event = skellam_event(multiplier, norm, 40, n)
    assert event.variance >= (multiplier * rounded_norm(norm, n)) ** 2
    found, z = epsilon([event] * count, DELTA), math.sqrt(event.variance / count) / event.l2
    # Balle and Wang 2018 (arXiv:1805.06530, theorem 8): the delta of all the Gaussians together.
    first, second = stats.norm.logcdf([1 / (2 * z) - found * z, -1 / (2 * z) - found * z])
    assert math.exp(first) - math.exp(found + second) <= DELTA


def test_with_much_noise_in_many_units_it_is_within_a_percent_of_the_gaussians():
    for multiplier, rounds in ((2.0, 1), (4.0, 40), (20.0, 100)):
        event = skellam_event(multiplier, 4096.0, 40, 1_000_000)
        ratio = math.sqrt(event.variance) / event.l2
        gaussian = renyi_epsilon([Gaussian(ratio)] * rounds, DELTA)
        assert gaussian <= epsilon([event] * rounds, DELTA) * (1 + 1e-9) <= 1.01 * gaussian


def test_a_client_suffers_the_rounds_that_it_is_in():
    one = Skellam(10_000, 50.0, 400.0)
    cyclic = [Cyclic(one, groups=4, round=r) for r in range(1, 11)]
    assert epsilon(cyclic, DELTA) == epsilon([one] * 3, DELTA)
    assert epsilon([*cyclic, cyclic[0]], DELTA) == epsilon([one] * 4, DELTA), "a round again counts again"


@given(events | st.builds(Cyclic, events | st.builds(Gaussian, st.floats(0.5, 20)), whole, whole))
def test_an_event_is_read_back_as_it_was_written(event):
    assert from_json(json.loads(json.dumps(to_json(event)))) == event


@pytest.mark.parametrize(
    "fields",
    [{"variance": 0, "l2": 1.0, "l1": 1.0}, {"variance": 1.5, "l2": 1.0, "l1": 1.0},
     {"variance": 1, "l2": 0.0, "l1": 1.0}, {"variance": 1, "l2": 1.0, "l1": math.inf},
     {"variance": 1, "l2": 1.0}],
)  # fmt: skip
def test_what_is_no_event_is_refused(fields):
    with pytest.raises(ValueError, match=r"must be|cannot be read"):
        from_json({"kind": "skellam", **fields})


def test_a_ledger_counts_on_after_it_was_opened_again_and_beside_other_noise(tmp_path):
    file, budget = tmp_path / "privacy.jsonl", Budget(DELTA, 3.0)
    one = skellam_event(4.0, 4096.0, 40, 1000)
    released: list[Cyclic | PoissonSampled] = []
    for number in range(1, 7):
        event = PoissonSampled(0.1, Gaussian(2.0)) if number == 4 else Cyclic(one, 2, number)
        # Opened anew each time, as a run is that was killed.
        found = Ledger(budget, file).record(number, event, str(number), noise="system")
        released.append(event)
        assert found == Ledger(budget, file).epsilon == epsilon(released, DELTA)
    ledger = Ledger(budget, file)
    assert ledger.releases == 6 == len(file.read_text().splitlines())
    assert ledger.allows(Cyclic(one, 2, 7))
    assert not ledger.allows(Skellam(one.variance // 100, one.l2, one.l1))


def test_each_number_follows_from_the_others():
    def mechanism(multiplier: float) -> Skellam:
        return skellam_event(multiplier, 4096.0, 1, 10_000)

    plan = {"epsilon": 3.0, "delta": DELTA, "rounds": 20, "rate": 1.0, "mechanism": mechanism}
    plan["noise_multiplier"] = solve(**plan).noise_multiplier
    assert solve(**{**plan, "epsilon": None}).epsilon == pytest.approx(3.0, rel=1e-3)
    assert solve(**{**plan, "epsilon": None}).epsilon <= 3.0
    assert solve(**{**plan, "rounds": None}).rounds == 20
    assert solve(**{**plan, "delta": None}).delta == pytest.approx(DELTA, rel=0.01)
    for rate in (0.1, None):
        with pytest.raises(ValueError, match="with Skellam noise, which clients add, rate is 1"):
            solve(**{**plan, "rate": rate, "noise_multiplier": 1.0, "epsilon": None if rate else 3.0})
