"""Searches for bands, for a plan and for a unit ask what they should, and end where they say."""

import math

import numpy as np
import pytest

from hedgerow.privacy import accounting, bands, planning
from hedgerow.privacy.events import Gaussian, PoissonSampled, Skellam

PLAN = {
    "epsilon": 3.0, "delta": 1e-5, "rounds": 4, "noise_multiplier": 2.0, "rate": 1.0, "interval": 1e-4,
    "mechanism": Gaussian, "adjacency": "zero_out",
}  # fmt: skip


def watched(monkeypatch, module, name, function):
    """Put another function in place, and note what it is asked."""
    asked = []
    monkeypatch.setattr(module, name, lambda *given: (asked.append(given), function(*given))[1])
    bands.optimal_bands.cache_clear()
    return asked


@pytest.fixture(autouse=True)
def nothing_kept():
    yield
    bands.optimal_bands.cache_clear()


def test_where_every_step_is_worse_the_search_halves_it_thirty_times_and_stays(monkeypatch):
    start = np.array([0.5, 0.375])
    asked = watched(
        monkeypatch, bands, "_loss", lambda free, rounds: (float(np.abs(free - start).sum()), np.ones(2))
    )
    assert bands.optimal_bands(3, 9) == (1.0, 0.5, 0.375)
    lengths = [float(np.abs(free - start).max()) for free, _ in asked]
    assert lengths[0] == 0
    assert lengths[1:] == pytest.approx([2.0**-k / 2 for k in range(30)])


def test_where_there_is_no_end_to_it_the_search_ends_after_two_hundred_steps(monkeypatch):
    asked = watched(monkeypatch, bands, "_loss", lambda free, rounds: (-float(free.sum()), -np.ones(1)))
    (first, last) = bands.optimal_bands(2, 9)
    assert (first, last, len(asked)) == (1.0, pytest.approx(0.5 + 200 / 2), 201)


@pytest.mark.parametrize(("slope", "steps"), [(0.99e-6, 0), (1e-6, 200), (1.01e-6, 200)])
def test_the_search_ends_where_the_slope_is_below_a_millionth(monkeypatch, slope, steps):
    asked = watched(
        monkeypatch, bands, "_loss", lambda free, rounds: (-slope * float(free.sum()), np.array([-slope, 0]))
    )
    bands.optimal_bands(3, 9)
    assert len(asked) == 1 + steps
    first = [each[0][0] for each in asked[:2]]
    assert np.diff(first) == pytest.approx([slope / (1 + slope)] if steps else [])


@pytest.mark.parametrize(("share", "taken"), [(0.99e-4, False), (1e-4, True), (1.01e-4, True)])
def test_a_step_must_lower_the_loss_by_a_ten_thousandth_of_what_the_slope_says(monkeypatch, share, taken):
    """With slope 1, a step of one half: what it must give is 0.5e-4."""

    def loss(free, rounds):
        return -share * (0.5 - float(free[0])), np.array([1.0 if free[0] == 0.5 else 0.0])

    asked = watched(monkeypatch, bands, "_loss", loss)
    bands.optimal_bands(2, 9)
    assert (len(asked) == 2) == taken


def quadratic(free, rounds):
    curvature = np.array([[3.0, 0.4, 0.1], [0.4, 1.0, 0.2], [0.1, 0.2, 0.5]])
    apart = free - np.array([0.2, 0.1, -0.3])
    return float(apart @ curvature @ apart) / 2, curvature @ apart


def test_steps_are_those_of_bfgs(monkeypatch):
    """Against the update as Nocedal and Wright write it (2006, equations 6.14 and 6.17)."""
    asked = watched(monkeypatch, bands, "_loss", quadratic)
    found = bands.optimal_bands(4, 30)
    assert found == pytest.approx((1.0, 0.2, 0.1, -0.3), abs=1e-4)
    free = np.array([0.5, 0.375, 0.3125])
    value, slope = quadratic(free, 30)
    inverse, known = np.eye(3) / (1 + np.abs(slope).max()), [free]
    while np.abs(slope).max() >= 1e-6:
        step, length = -inverse @ slope, 1.0
        while True:
            known.append(free + length * step)
            if quadratic(known[-1], 30)[0] <= value + 1e-4 * length * (slope @ step):
                break
            length /= 2
        s, free = length * step, known[-1]
        (value, after), y = quadratic(free, 30), -slope
        y, slope = after + y, after
        rho = 1 / (y @ s)
        one = np.eye(3) - rho * np.outer(s, y)
        inverse = one @ inverse @ one.T + rho * np.outer(s, s)
    assert len(asked) == len(known) > 6
    np.testing.assert_allclose([each for each, _ in asked], known, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("along", "last"), [(0.95e-15, -0.5), (1.05e-15, -0.25 / 1.05e-15)])
def test_a_step_along_which_the_slope_hardly_changes_teaches_nothing(monkeypatch, along, last):
    """One half down, and again where nothing was learnt; else as far as the little change says."""

    def loss(free, rounds):
        place = 0.5 - float(free[0])
        return -place, np.array([1.0 if place < 0.1 else 1.0 - 2 * along if place < 0.6 else 0.0])

    asked = watched(monkeypatch, bands, "_loss", loss)
    bands.optimal_bands(2, 9)
    assert [float(free[0]) for free, _ in asked] == pytest.approx([0.5, 0.0, last], rel=0.05)


def test_one_release_is_not_composed_with_itself(monkeypatch):
    class Distribution:
        def self_compose(self, count):
            return f"{count} releases"

    monkeypatch.setattr(accounting, "_loss_distribution", lambda *given: Distribution())
    event = PoissonSampled(0.123, Gaussian(1.0))
    found = [accounting._composed.__wrapped__(event, count, 1e-4, "zero_out") for count in (1, 2)]
    assert isinstance(found[0], Distribution)
    assert found[1] == "2 releases"


def test_the_number_of_bands_is_that_of_the_rounds_at_most():
    assert [len(bands.optimal_bands(5, rounds)) for rounds in (1, 2, 4, 5, 9)] == [1, 2, 4, 5, 5]


@pytest.mark.parametrize("most", [1, 2, 3, 5, 44, 1024, 9_999_999])
def test_the_most_rounds_are_found_by_doubling_and_halving(monkeypatch, most):
    asked = watched(monkeypatch, planning, "_keeps", lambda plan: plan["rounds"] <= most)
    if most >= 2**23:
        with pytest.raises(ValueError, match="more than ten million rounds"):
            planning._rounds(PLAN)
        assert [plan["rounds"] for (plan,) in asked] == [1, *(2**k for k in range(1, 24))]
        return
    assert planning._rounds(PLAN) == most
    rounds = [plan["rounds"] for (plan,) in asked]
    assert len(set(rounds)) == len(rounds) <= 2 + 2 * math.log2(most + 1)
    assert rounds[:2] == [1, 2]


def test_a_budget_for_less_than_a_round_and_one_for_any_number_are_refused(monkeypatch):
    watched(monkeypatch, planning, "_keeps", lambda plan: False)
    with pytest.raises(ValueError, match="one round alone passes epsilon 3; more noise or a lower rate"):
        planning._rounds(PLAN)
    with pytest.raises(ValueError, match=r"no noise multiplier keeps this budget; .* or fewer rounds$"):
        planning._noise_multiplier(PLAN)
    with pytest.raises(ValueError, match=r"no rate keeps this budget; .* or take more noise$"):
        planning._rate(PLAN)


@pytest.mark.parametrize("start", [1.0, 8.0])
@pytest.mark.parametrize("least", [1e-8, 0.3, 0.9999, 1.0, 1.0001, 1.9, 77.0, 5e8])
def test_the_smallest_number_is_found_to_a_twentieth_of_a_percent(start, least):
    asked = []
    found = planning._smallest("x", start, lambda z: (asked.append(z), z >= least)[1])
    assert least <= found <= least * 1.0005 * (1 + 1e-12)
    assert asked[0] == start
    known = [start]
    while known[-1] < least:
        known.append(2 * known[-1])
    low, high = (known[-1] / 2 if len(known) > 1 else known[-1]), known[-1]
    if low == high:
        low = high / 1.5
        known.append(low)
        while low >= least:
            low, high = low / 1.5, low
            known.append(low)
    elif low > start * 1e-9:
        known.append(low)
    while high / low > 1.0005:
        known.append((low * high) ** 0.5)
        low, high = (low, known[-1]) if known[-1] >= least else (known[-1], high)
    assert asked == known


@pytest.mark.parametrize(
    ("start", "last"), [(1.0, 2.0**29), (0.95e9 / 4, 0.95e9), (1e9 / 4, 1e9), (1.01e9 / 4, 1.01e9 / 2)]
)
def test_a_search_gives_up_above_a_milliard(start, last):
    asked = []
    with pytest.raises(ValueError, match="no x keeps this budget"):
        planning._smallest("x", start, lambda z: asked.append(z))
    assert asked[-1] == last


@pytest.mark.parametrize(("allowed", "tried"), [(20.0, False), (20.1, True), (18.5, False)])
def test_a_large_epsilon_is_first_tried_with_the_quick_bound(monkeypatch, allowed, tried):
    given = []
    monkeypatch.setattr(planning, "counted_renyi", lambda *a: (given.append(("renyi", a)), allowed + 1)[1])
    monkeypatch.setattr(planning, "counted_epsilon", lambda *a: (given.append(("loss", a)), allowed)[1])
    assert planning._keeps({**PLAN, "epsilon": allowed})
    event = Gaussian(2.0)
    first = [("renyi", (event, 4, 1e-5, "zero_out"))] if tried else []
    assert given == [*first, ("loss", (event, 4, 1e-5, 1e-4, "zero_out"))]
    monkeypatch.setattr(planning, "counted_renyi", lambda *a: allowed)
    monkeypatch.setattr(planning, "counted_epsilon", lambda *a: allowed * (1 + 1e-9))
    assert planning._keeps({**PLAN, "epsilon": allowed}) == tried


def test_a_rate_is_one_where_that_holds_and_else_the_inverse_of_what_is_found(monkeypatch):
    asked = watched(monkeypatch, planning, "_keeps", lambda plan: plan["rate"] <= 0.37)
    assert 0.37 / 1.0005 <= planning._rate(PLAN) <= 0.37
    assert [plan["rate"] for (plan,) in asked[:2]] == [1.0, 1 / 8]
    watched(monkeypatch, planning, "_keeps", lambda plan: plan["rate"] <= 1)
    assert planning._rate(PLAN) == 1.0


def test_the_event_of_a_plan_is_sampled_below_a_rate_of_one():
    assert planning._event(PLAN) == Gaussian(2.0)
    assert planning._event({**PLAN, "rate": 0.5}) == PoissonSampled(0.5, Gaussian(2.0))
    one = {**PLAN, "mechanism": lambda z: Skellam(9, z, 1.0)}
    assert planning._event(one) == Skellam(9, 2.0, 1.0)
    with pytest.raises(ValueError, match="with Skellam noise, which clients add, rate is 1"):
        planning._event({**one, "rate": 0.5})
    with pytest.raises(ValueError, match=r"^rate is 1\.1; it must be"):
        planning.solve(**{**one, "rate": 1.1, "epsilon": None})


@pytest.mark.parametrize(
    ("found", "said"),
    [(1.0, "more noise, or a larger epsilon"), (0.0, "less noise, or a smaller epsilon"), (0.5, "")],
)
def test_a_delta_is_between_nought_and_one_or_is_refused_with_the_remedy(monkeypatch, found, said):
    asked = watched(monkeypatch, planning, "counted_delta", lambda *given: found)
    if said:
        with pytest.raises(ValueError, match=f"delta would be {found:g}, .* take {said}"):
            planning._delta(PLAN)
    else:
        assert planning._delta(PLAN) == 0.5
    assert asked == [(Gaussian(2.0), 4, 3.0, "zero_out")]
