"""A budget decides the noise: never more epsilon than was asked for, and little less."""

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import hedgerow as hr
from hedgerow.experiments.config.errors import ConfigError
from hedgerow.experiments.config.expand import expand
from hedgerow.experiments.config.parse import parse
from hedgerow.privacy.accounting import epsilon, skellam_divergence
from hedgerow.privacy.ledger import Ledger
from hedgerow.strategies.transforms.client_noise import skellam_event

TABLE = {
    "name": "budgets", "rounds": 12,
    "data": {"name": "fashion-mnist", "partition": {"name": "iid", "clients": 200}},
    "model": {"name": "logistic"},
}  # fmt: skip
COMMON = {"clients_per_round": 50, "population": 200, "delta": 1e-3, "epsilon": 3.0}
PRIVATE = [
    {"name": "dp_fedavg"},
    {"name": "dp_ftrl", "bands": 4},
    {"name": "secure_dp_fedavg", "noise": "skellam"},
    {"name": "secure_dp_fedavg", "noise": "gaussian", "corrupt": 0.1},
    {"name": "secure_dp_fedavg", "noise": "skellam", "bits": 12, "value_range": 0.05},
]


def strategy(own: dict[str, object], **changed: object) -> hr.Strategy:
    return parse({**TABLE, "strategy": {**COMMON, **own, **changed}}).strategy()


@pytest.mark.parametrize("own", PRIVATE, ids=lambda own: f"{own['name']} {own.get('noise', '')}")
def test_the_ledger_allows_all_rounds_and_little_more(own: dict[str, object]) -> None:
    planned = strategy(own)
    noise, sampling = planned.release.noise, planned.sampling
    for values in (1, 100, 7850, 10**6):
        events = [noise.event(sampling, number, values) for number in range(1, 13)]
        assert planned.budget is not None
        spent = epsilon(events, planned.budget.delta)
        # Skellam noise of a whole variance a client: with few bits, a little more than is needed.
        least = 0.99 if noise.skellam is None or values > 1000 else 0.8
        assert least * 3.0 < spent <= 3.0
    ledger = Ledger(planned.budget)
    for number in range(1, 13):
        event = noise.event(sampling, number, 7850)
        assert ledger.allows(event)
        ledger.record(number, event, str(number), noise="system")


@given(
    st.floats(0.5, 20), st.floats(2, 2000), st.integers(1, 500), st.integers(1, 10**7), st.integers(2, 200)
)
@example(3.0, 10.0, 30, 100, 2)
@settings(max_examples=300, deadline=None)
def test_no_number_of_values_costs_more_than_what_is_planned_with(
    multiplier: float, norm: float, min_honest: int, n: int, order: int
) -> None:
    of_any = skellam_divergence(skellam_event(multiplier, norm, min_honest, None), order)
    assert skellam_divergence(skellam_event(multiplier, norm, min_honest, n), order) <= of_any * (1 + 1e-12)


def test_less_epsilon_or_more_rounds_take_more_noise() -> None:
    def noise(epsilon: float, rounds: int) -> float:
        def make(z: float) -> hr.Strategy:
            return hr.dp_fedavg(0.5, z, 1e-3, epsilon, sampling=hr.cyclic(10, population=40))

        return hr.calibrated(make, rounds).release.noise.multiplier

    assert noise(2.0, 40) > noise(4.0, 40) > noise(8.0, 40)
    # A client is in one round more, and noise goes with the root of their number.
    assert math.isclose(noise(4.0, 160) / noise(4.0, 40), 2.0, rel_tol=2e-3)


def test_noise_that_is_given_stays() -> None:
    assert strategy({"name": "dp_fedavg"}, noise_multiplier=9.0).release.noise.multiplier == 9.0
    table = {**TABLE, "strategy": {"name": "dp_fedavg", "clients_per_round": 5, "population": 200}}
    assert parse(table).strategy().release.noise.multiplier == 1.0


def test_what_was_computed_is_written_down_and_not_computed_again() -> None:
    resolved = parse({**TABLE, "strategy": {**COMMON, "name": "dp_fedavg"}})
    again = parse({**resolved.model_dump(mode="json", exclude_none=True), "rounds": 500})
    assert again.strategy_config.options == resolved.strategy_config.options


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"population": 10}, "at most the population"),
        ({"epsilon": -1.0}, r"strategy\.epsilon"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_told(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        strategy({"name": "dp_fedavg"}, **changed)


def test_what_is_not_private_has_no_epsilon_to_keep() -> None:
    with pytest.raises(ValueError, match="has no epsilon to keep"):
        hr.calibrated(lambda noise: hr.fedavg(), rounds=3)
    with pytest.raises(ValueError, match="rounds is 0"):
        hr.calibrated(lambda noise: hr.dp_fedavg(0.5, noise, epsilon=1.0), rounds=0)


def test_strategies_are_swept_over_epsilon_and_what_is_not_private_runs_once() -> None:
    kinds = [
        {"label": "plain", "name": "fedavg", "clients_per_round": 50},
        {"label": "central", "name": "dp_fedavg", **{k: v for k, v in COMMON.items() if k != "epsilon"}},
    ]
    sweep = expand(TABLE, {"strategy": kinds, "strategy.epsilon": [2.0, 8.0], "seed": [0, 1]})
    assert [cell.folder for cell in sweep.cells] == [
        "plain-seed=0", "plain-seed=1",
        *(f"central-epsilon={e}-seed={s}" for e in (2.0, 8.0) for s in (0, 1)),
    ]  # fmt: skip
    assert {cell.experiment.label for cell in sweep.cells} == {
        "plain", "central, epsilon=2.0", "central, epsilon=8.0"
    }  # fmt: skip
    noise = [cell.experiment.strategy_config.options.get("noise_multiplier") for cell in sweep.cells]
    assert noise[:2] == [None, None]
    assert noise[2] > noise[4] > 0.2
    with pytest.raises(ConfigError, match=r"epsilon.*dp_fedavgg|dp_fedavgg"):
        expand(TABLE, {"strategy": [{"name": "dp_fedavgg"}], "strategy.epsilon": [2.0]})
