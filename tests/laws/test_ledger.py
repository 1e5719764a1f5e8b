"""The ledger's epsilon is dp-accounting's, whatever happens on the way."""

import json
import math

import dp_accounting
import pytest
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.privacy.accounting import Budget, epsilon, renyi_epsilon
from hedgerow.privacy.events import Gaussian, PoissonSampled, from_json, to_json
from hedgerow.privacy.ledger import Ledger, LedgerError
from hedgerow.privacy.planning import solve
from hedgerow.sealed import seal

BUDGET = Budget(delta=1e-5)
SAMPLED = PoissonSampled(0.05, Gaussian(1.2))
events = st.builds(Gaussian, st.floats(0.5, 20)) | st.builds(
    PoissonSampled, st.floats(0.001, 0.9), st.builds(Gaussian, st.floats(0.7, 5))
)


def reference(counts, delta: float) -> float:
    accountant = PLDAccountant()
    for event, count in counts:
        inner = dp_accounting.GaussianDpEvent(
            (event.event if hasattr(event, "rate") else event).noise_multiplier
        )
        outer = dp_accounting.PoissonSampledDpEvent(event.rate, inner) if hasattr(event, "rate") else inner
        accountant.compose(outer, count)
    return float(accountant.get_epsilon(delta))


@pytest.mark.parametrize(
    "counts",
    [
        [(Gaussian(4.0), 40)],
        [(SAMPLED, 1)],
        [(SAMPLED, 200)],
        [(PoissonSampled(0.01, Gaussian(0.8)), 500)],
        [(SAMPLED, 30), (Gaussian(5.0), 3), (PoissonSampled(0.2, Gaussian(2.0)), 10)],
    ],
)
def test_epsilon_is_that_of_dp_accounting_within_a_percent_and_never_below(counts):
    found = epsilon([event for event, count in counts for _ in range(count)], 1e-5)
    expected = reference(counts, 1e-5)
    assert expected * (1 - 1e-9) <= found <= expected * 1.01


def test_renyi_accounting_is_an_upper_bound_and_not_far_off():
    for rounds in (1, 50, 400):
        released = [SAMPLED] * rounds
        assert epsilon(released, 1e-5) <= renyi_epsilon(released, 1e-5) <= 2 * epsilon(released, 1e-5)


def test_the_gaussian_is_the_analytic_one():
    """Balle and Wang 2018 (arXiv:1805.06530, theorem 8)."""
    z = 2.0

    def phi(x: float) -> float:
        return 0.5 * math.erfc(-x / math.sqrt(2))

    found = epsilon([Gaussian(z)], 1e-5)
    delta = phi(1 / (2 * z) - found * z) - math.exp(found) * phi(-1 / (2 * z) - found * z)
    assert delta == pytest.approx(1e-5, rel=0.01)


@given(events)
def test_an_event_is_read_back_as_it_was_written(event):
    assert from_json(json.loads(json.dumps(to_json(event)))) == event


@pytest.mark.parametrize(
    "fields",
    [{}, {"kind": "laplace"}, {"kind": "gaussian"}, {"kind": "gaussian", "noise_multiplier": -1.0},
     {"kind": "poisson sampled", "rate": 2.0, "event": {"kind": "gaussian", "noise_multiplier": 1.0}}],
)  # fmt: skip
def test_what_is_no_event_is_refused(fields):
    with pytest.raises(ValueError, match=r"kind is|cannot be read|must be"):
        from_json(fields)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["a", "b"])), min_size=1, max_size=8))
def test_every_release_counts_once_and_a_repeated_round_counts_again(tmp_path_factory, releases):
    file = tmp_path_factory.mktemp("run") / "privacy.jsonl"
    for number, digest in releases:
        # Opened anew each time, as a run is that was killed.
        Ledger(BUDGET, file).record(number, SAMPLED, digest, noise="system")
    ledger = Ledger(BUDGET, file)
    assert ledger.releases == len(set(releases)) == file.read_bytes().count(b"\n")
    assert ledger.epsilon == epsilon([SAMPLED] * len(set(releases)), BUDGET.delta)


def test_a_line_torn_by_a_crash_was_not_released_and_goes_away(tmp_path):
    file = tmp_path / "privacy.jsonl"
    ledger = Ledger(BUDGET, file)
    for number in (1, 2):
        ledger.record(number, Gaussian(4.0), str(number), noise="system")
    whole = file.read_bytes()
    for cut in range(1, len(whole) // 2 - 1):
        file.write_bytes(whole[:-cut])
        again = Ledger(BUDGET, file)
        assert again.releases == 1
        again.record(2, Gaussian(4.0), "2", noise="system")
        assert file.read_bytes() == whole


def test_a_line_that_cannot_be_read_ends_the_run_before_it_reveals_more(tmp_path):
    file = tmp_path / "privacy.jsonl"
    Ledger(BUDGET, file).record(1, SAMPLED, "1", noise="system")
    file.write_bytes(b"{}\n" + file.read_bytes())
    with pytest.raises(LedgerError, match=r"line 1 of .*privacy.jsonl cannot be read.*start a new run"):
        Ledger(BUDGET, file)


@pytest.mark.parametrize("times", [0, -3])
def test_a_line_that_says_it_happened_less_than_once_is_refused_even_where_it_is_sealed(times, tmp_path):
    line = {"round": 1, "event": to_json(Gaussian(1.0)), "release": "1", "noise": "system", "times": times}
    (tmp_path / "privacy.jsonl").write_text(json.dumps(seal(line)) + "\n")
    with pytest.raises(LedgerError, match=f"line 1 of .* cannot be read: times is {times}"):
        Ledger(BUDGET, tmp_path / "privacy.jsonl")


def test_a_budget_that_asks_for_no_chance_has_a_rate_of_one():
    assert solve(epsilon=50.0, delta=1e-5, rounds=2, noise_multiplier=3.0).rate == 1.0


def test_a_ledger_that_cannot_be_written_lets_nothing_out(tmp_path):
    ledger = Ledger(BUDGET, tmp_path / "missing" / "privacy.jsonl")
    with pytest.raises(OSError, match="No such file"):
        ledger.record(1, SAMPLED, "1", noise="system")
    assert ledger.releases == 0


def test_the_last_round_within_the_budget_is_the_last():
    budget = Budget(delta=1e-5, epsilon=1.4)
    ledger = Ledger(budget)
    rounds = 0
    while ledger.allows(SAMPLED):
        rounds += 1
        assert ledger.record(rounds, SAMPLED, str(rounds), noise="system") <= 1.4
    assert epsilon([SAMPLED] * (rounds + 1), 1e-5) > 1.4
    assert 10 < rounds == solve(epsilon=1.4, delta=1e-5, noise_multiplier=1.2, rate=0.05).rounds


@pytest.mark.slow
def test_each_number_follows_from_the_other_four():
    plan = {"epsilon": 3.0, "delta": 1e-5, "rounds": 100, "rate": 0.05}
    plan["noise_multiplier"] = solve(**plan).noise_multiplier

    def solved(name):
        return getattr(solve(**{**plan, name: None}), name)

    assert solved("epsilon") == pytest.approx(3.0, rel=1e-3)
    assert solved("rounds") == 100
    assert solved("rate") == pytest.approx(0.05, rel=2e-3)
    assert solved("delta") == pytest.approx(1e-5, rel=0.02)
    for name in ("rate", "rounds", "noise_multiplier"):
        safe = {**plan, name: solved(name), "epsilon": None}
        assert solve(**safe).epsilon <= 3.0, "always on the safe side"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"epsilon": 1.0, "delta": 1e-5}, "leave out exactly one"),
        (
            {"epsilon": 1.0, "delta": 1e-5, "rounds": 3, "noise_multiplier": 1.0, "rate": 0.1},
            "left out: none",
        ),
        ({"delta": 2.0, "rounds": 3, "noise_multiplier": 1.0, "rate": 0.1}, "delta is 2.0"),
        ({"delta": 1e-5, "rounds": 2.5, "noise_multiplier": 1.0, "rate": 0.1}, "rounds is 2.5"),
        ({"delta": 1e-5, "rounds": 3, "noise_multiplier": 0.0, "rate": 0.1}, "noise_multiplier is 0.0"),
        ({"delta": 1e-5, "rounds": 3, "epsilon": -1.0, "rate": 0.1}, "epsilon is -1.0"),
        ({"epsilon": 0.1, "delta": 1e-5, "noise_multiplier": 1.0, "rate": 1.0}, "one round alone passes"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(given, says):
    with pytest.raises(ValueError, match=says):
        solve(**given)


def test_a_budget_can_be_used_up_to_its_last_bit():
    spent = epsilon([SAMPLED] * 3, BUDGET.delta)
    ledger = Ledger(Budget(delta=BUDGET.delta, epsilon=spent))
    assert ledger.allows(SAMPLED, 3)
    assert not Ledger(Budget(delta=BUDGET.delta, epsilon=math.nextafter(spent, 0))).allows(SAMPLED, 3)


@pytest.mark.parametrize("budget", [(0.0, 1.0), (1.0, 1.0), (math.nan, 1.0), (1e-5, 0.0), (1e-5, math.inf)])
def test_a_budget_that_promises_nothing_is_refused(budget):
    with pytest.raises(ValueError, match="must be a number"):
        Budget(*budget)
