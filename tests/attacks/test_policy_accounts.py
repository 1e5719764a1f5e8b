"""A hostile server asks again, under other names: a device has one account, and writes before it answers."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hedgerow import record_sizes
from hedgerow.client import account
from hedgerow.client.discretion import ClientFailed
from hedgerow.client.guard import node_guard
from hedgerow.client.policy import AgainstPolicy, Policy, client_event
from hedgerow.client.policy_file import NAME, policy_text
from hedgerow.experiments.config.recipe import load
from hedgerow.privacy.accounting import epsilon
from hedgerow.strategies import cyclic, secure_dp_fedavg
from tests.attacks.devices import OPEN, Device, request, rules
from tests.faults.test_secure_client import Federation

SAMPLED = [
    "local.clip_samples=1.0",
    "local.sample_delta=1e-5",
    "local.sample_noise=2.0",
    "local.sample_rate=0.1",
]


def test_the_samples_account_is_one_whatever_the_run_calls_itself(tmp_path) -> None:
    """Other ids, noise, budgets and names of the client: all are one account."""
    noise = ["local.clip_samples=1.0", "local.sample_rate=1.0", "local.sample_delta=1e-5"]
    first = [*noise, "local.sample_noise=2.0", "local.sample_epsilon=1000000"]
    renamed = ["data.partition.name=iid", "data.partition.clients=7"]
    second = [*noise, "local.sample_noise=3.0", "local.clip_samples=0.1", *renamed]
    events = []
    for overrides in (first, second):
        local = load("heart", overrides).local
        events += [account.event(local)] * local.steps(1)
    most = epsilon(events, 1e-3)
    device = Device(tmp_path / "device", replace(OPEN, sample_epsilon=1.01 * most, delta=1e-3))
    names = {device.ask("query", "heart", *overrides)["hedgerow"]["client"] for overrides in (first, second)}
    assert len(names) == 2
    device.train(*first, run=1)
    device.train(*second, run=2)
    for overrides, run in ((first, 3), (second, 4), (first, 1)):
        with pytest.raises(AgainstPolicy, match="rule sample_epsilon"):
            device.train(*overrides, run=run, round=2)
    with pytest.raises(AgainstPolicy, match="rule sample_epsilon"):
        device.train(run=5)  # no noise at all
    ledger = node_guard(device.config).ledgers()["sample_epsilon"]
    assert ledger.epsilon == pytest.approx(most)


def test_a_limit_of_answers_holds_for_every_pipeline_and_run(tmp_path) -> None:
    device = Device(tmp_path / "device", replace(OPEN, most_answers=2))
    device.train(run=1)
    device.train("strategy.pipeline=quantize(8)", run=2)
    for overrides in (
        (),
        ("strategy.pipeline=top_k(0.1)",),
        ("strategy.name=scaffold", "strategy.weighted=false"),
    ):
        assert rules(device.refused("train", "heart", *overrides, run=3, round=9)) == {"most_answers"}
    assert device.ask("query")["hedgerow"]["client"]


def noised(noise: float):
    return secure_dp_fedavg(
        0.5, noise, corrupt=0.0, dropout=0.0, min_clients=5, sampling=cyclic(5, population=15)
    )


def rounds_of(folder: Path, policy: Policy, strategy, run: str, round: int = 1) -> Federation:
    """A new process of five devices, each with a folder that it had before."""
    federation = Federation(None, round, run, strategy)
    for name, context in federation.contexts.items():
        (folder / name).mkdir(exist_ok=True, parents=True)
        (folder / name / NAME).write_text(policy_text(policy))
        context.node_config["policy"] = str(folder / name / NAME)
    return federation


def test_two_strategies_in_turn_spend_one_account_of_a_client(tmp_path) -> None:
    one, other = noised(2.0), noised(3.0)
    most = epsilon([client_event(one), client_event(other)], 1e-5)
    policy = Policy(min_clients=5, corrupt=0.0, client_epsilon=1.01 * most)
    rounds_of(tmp_path, policy, one, "a").until("end")
    stopped = rounds_of(tmp_path, policy, other, "x", 7).until("masked")  # no update yet: it costs nothing
    rounds_of(tmp_path, policy, other, "b").until("survivors")  # the server has the vectors: it counts
    for strategy, run, round in ((one, "a", 4), (other, "c", 1)):
        with pytest.raises(AgainstPolicy, match="rule client_epsilon"):
            rounds_of(tmp_path, policy, strategy, run, round).keys()
    with pytest.raises(AgainstPolicy, match="rule client_epsilon"):
        stopped.masked()
    guard = node_guard({"policy": str(tmp_path / "client-000" / NAME)})
    assert guard.ledgers()["client_epsilon"].epsilon == pytest.approx(most)
    kinds = [json.loads(line)["kind"] for line in (guard.folder / "answers.jsonl").read_text().splitlines()]
    assert kinds.count("train.masked") == guard.answers == 2


def test_what_cannot_be_written_down_does_not_leave(tmp_path) -> None:
    policy = Policy(min_clients=5, corrupt=0.0)
    federation = rounds_of(tmp_path, policy, noised(2.0), "a").until("masked")
    for context in federation.contexts.values():
        (Path(context.node_config["policy"]).parent / "privacy-clients.jsonl").mkdir()
    with pytest.raises(ClientFailed):
        federation.masked()


@pytest.mark.parametrize("file", ["answers.jsonl", "privacy-samples.jsonl"])
def test_what_was_told_before_and_cannot_be_read_stops_all_answers(file: str, tmp_path) -> None:
    device = Device(tmp_path / "device", replace(OPEN, most_answers=9, sample_epsilon=50.0))
    device.train(*SAMPLED)
    with (device.folder / file).open("a") as out:
        out.write("{\n")
    told = device.refused("train", "heart", *SAMPLED, content=request(SAMPLED), round=2)
    assert "rule" not in told


def test_every_answer_is_in_the_devices_own_list_with_its_bytes(tmp_path) -> None:
    device = Device(tmp_path / "device", OPEN)
    replies = [device.ask("query"), device.train(run=7, round=3)]
    lines = device.answers
    assert [(line["kind"], line["run"], line["round"]) for line in lines] == [
        ("query", "1", "1"), ("train", "7", "3"),
    ]  # fmt: skip
    assert [line["bytes"] for line in lines] == [record_sizes.measure(reply) for reply in replies]
