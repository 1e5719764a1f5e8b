"""How a model does on a device's data is told only where its policy says so, and each answer is counted."""

from dataclasses import replace

import pytest

from hedgerow.client.guard import node_guard
from hedgerow.client.kinds import STAGES
from hedgerow.client.policy import AgainstPolicy, Policy
from hedgerow.strategies import fedavg, secure_fedavg
from tests.attacks.devices import OPEN, Device, request, rules

HELD_OUT = "data.held_out=0.2"


def measured(device, *overrides, **options):
    content = options.pop("content", None) or request(overrides)
    return device.ask("evaluate", "heart", *overrides, content=content, **options)


def test_a_device_that_may_tells_its_metrics_and_number_of_samples_and_nothing_else(tmp_path) -> None:
    device = Device(tmp_path / "device", OPEN)
    reply = measured(device, HELD_OUT)
    assert set(reply) == {"hedgerow", "hedgerow.metrics"}
    assert set(reply["hedgerow.metrics"]) == {"weight", "num-examples", "metric.loss", "metric.accuracy"}
    trained = device.train(HELD_OUT)["hedgerow.metrics"]["num-examples"]
    whole = Device(tmp_path / "other", OPEN).train()["hedgerow.metrics"]["num-examples"]
    assert reply["hedgerow.metrics"]["num-examples"] == whole - trained
    assert [answer["kind"] for answer in device.answers] == ["evaluate", "train"]


def test_a_device_with_a_file_of_its_own_holds_a_part_of_that_out(tmp_path) -> None:
    lines = [",".join([*(f"c{i}" for i in range(29)), "sick"])]
    lines += [",".join([*(str(i * k % 7) for k in range(29)), str(i % 2)]) for i in range(40)]
    file = tmp_path / "jane-doe.csv"
    file.write_text("\n".join(lines) + "\n")
    config = {"data-label": "sick", "client-name": "clinic"}
    device = Device(tmp_path / "device", OPEN, str(file), **config)
    overrides = ("data.held_out=0.25", "data.held_out_by=time")
    assert measured(device, *overrides)["hedgerow.metrics"]["num-examples"] == 10
    assert device.train(*overrides)["hedgerow.metrics"]["num-examples"] == 30


@pytest.mark.parametrize(
    ("policy", "broken"),
    [
        (replace(OPEN, evaluate=False), {"evaluate"}),
        (replace(OPEN, statistics=False), {"statistics"}),
        (replace(OPEN, client_epsilon=8.0), {"evaluate", "client_epsilon"}),
        (replace(OPEN, sample_epsilon=8.0), {"evaluate", "sample_epsilon"}),
        (replace(OPEN, client_noise=1.0), {"evaluate", "client_noise"}),
        (replace(OPEN, sample_noise=1.0), {"evaluate", "sample_noise"}),
        (Policy(), {"evaluate", "statistics", "masked_only"}),
    ],
)
def test_a_policy_that_forbids_it_in_any_way_has_nothing_measured(policy, broken, tmp_path) -> None:
    device = Device(tmp_path / "device", policy)
    told = device.refused("evaluate", "heart", HELD_OUT, content=request())
    assert rules(told) == broken
    assert not device.answers


@pytest.mark.parametrize("rule", ["statistics", "evaluate"])
def test_a_mask_in_the_strategy_lets_nothing_more_be_measured_in_the_clear(rule) -> None:
    policy = replace(OPEN, **{rule: False})
    for strategy in (fedavg(), secure_fedavg()):
        assert rules("; ".join(policy.refusals("evaluate", strategy))) == {rule}


UNDER_A_MASK = {
    "it says so": (Policy(evaluate=True), set()),
    "it says nothing": (Policy(), {"evaluate"}),
    "a larger cohort": (Policy(evaluate=True, min_clients=20), {"min_clients"}),
    "more who are corrupt": (Policy(evaluate=True, corrupt=0.3), {"corrupt"}),
    "a budget": (Policy(evaluate=True, client_epsilon=8.0), {"evaluate", "client_epsilon"}),
    "noise in training": (Policy(evaluate=True, sample_noise=1.0), {"evaluate", "sample_noise"}),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("case", UNDER_A_MASK)
def test_under_a_mask_a_device_measures_where_it_may_and_its_rules_for_masks_hold(case, stage) -> None:
    policy, broken = UNDER_A_MASK[case]
    found = policy.refusals(f"evaluate.{stage}", secure_fedavg())
    assert {rules(text).pop() for text in found} == (broken & {"evaluate"} if stage == "failed" else broken)
    plain = {rules(text).pop() for text in policy.refusals(f"evaluate.{stage}", fedavg())}
    assert stage == "failed" or {"masked_only", "statistics"} <= plain


def test_to_add_to_a_sum_of_measures_counts_as_an_answer(tmp_path) -> None:
    device = Device(tmp_path / "device", Policy(evaluate=True, most_answers=1))
    guard = node_guard(device.config)
    strategy = secure_fedavg()
    for stage in STAGES[:-1]:
        with guard.alone(f"evaluate.{stage}"):
            guard.policy.check(f"evaluate.{stage}", strategy)
            guard.record(f"evaluate.{stage}", strategy, run=1, round="1", size=100)
    assert guard.answers == 1
    for kind in ("evaluate.keys", "evaluate.masked", "train.keys", "train.masked"):
        with pytest.raises(AgainstPolicy, match="rule most_answers"):
            guard.check(kind, strategy)


def test_models_that_are_measured_count_as_answers_whatever_run_asks(tmp_path) -> None:
    device = Device(tmp_path / "device", replace(OPEN, most_answers=2))
    measured(device, HELD_OUT)
    device.train(HELD_OUT, run=2)
    for kind in ("evaluate", "train"):
        told = device.refused(kind, "heart", HELD_OUT, content=request(), run=3)
        assert rules(told) == {"most_answers"}


def test_a_device_that_holds_nothing_out_tells_no_more_than_that(tmp_path) -> None:
    device = Device(tmp_path / "device", OPEN)
    told = device.refused("evaluate", "heart", content=request())
    assert told == "This client could not answer; why is in its own log."
    assert [answer["bytes"] for answer in device.answers] == [0]
