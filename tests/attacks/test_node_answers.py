"""What our own node answers a server that asks for more than the device gives."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hedgerow.client.policy import AgainstPolicy, Policy
from hedgerow.client.secure.enrolment import enrol
from hedgerow.node.errors import (
    CannotTrain,
    DataDoNotFit,
    NoTrainer,
    OtherModel,
    OtherVersion,
    UnknownDescription,
)  # fmt: skip
from hedgerow.node.responder import Responder, reason_of
from hedgerow.recipe.announcement import RECORD
from hedgerow.secure.errors import AlreadyAnswered, Refused, StaleRound
from hedgerow.strategies import fedavg
from hedgerow.types import LocalTraining, PayloadError
from hedgerow.wire.codec import decode
from hedgerow.wire.messages import unpack_identity
from tests.described_runs import (
    MASKED,
    OPEN,
    SCHEMA,
    Mean,
    again,
    announced,
    asked,
    installed,
    joined,
    keys,
    train,
)  # fmt: skip


@pytest.fixture(autouse=True)
def trainer() -> Iterator[None]:
    with installed():
        yield


@pytest.fixture
def device(tmp_path: Path) -> Callable[[Policy], Responder]:
    return lambda policy: joined(tmp_path, policy)


def test_a_run_is_known_by_its_digest_once_it_was_described(device) -> None:
    about, responder = announced(), device(OPEN)
    with pytest.raises(UnknownDescription) as refused:
        responder.answer("train", "1", asked(about, train(), whole=False))
    assert reason_of(refused.value) == "unknown-description"
    key = responder.answer("query", "", asked(about))
    assert responder._outbox.answer(key) is not None
    key = responder.answer("train", "1", asked(about, train(), whole=False))
    assert responder._outbox.answer(key) is not None
    again(responder).answer("train", "2", asked(about, train(2), whole=False))


def test_an_identical_request_gets_the_same_bytes_and_nothing_is_counted_twice(device) -> None:
    responder = device(replace(OPEN, most_answers=2))
    first = responder.answer("train", "1", asked(announced(), train()))
    again = responder.answer("train", "1", asked(announced(), train()))
    assert (first, Mean.fits) == (again, 1)
    responder.answer("train", "1", asked(announced(), train(value=1.0)))
    with pytest.raises(AgainstPolicy, match="most_answers"):
        responder.answer("train", "1", asked(announced(), train(value=2.0)))
    assert responder.answer("train", "1", asked(announced(), train())) == first
    lines = (responder._device.folder / "answers.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["train", "train"]


OTHER_CODE = {"kind": "classification", "lora": None}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"task": {**OTHER_CODE, "model": {"name": "os:system", "arguments": {}}}}, AgainstPolicy),
        ({"task": {**OTHER_CODE, "model": {"name": "/tmp/mine.py:Net", "arguments": {}}}}, AgainstPolicy),
        ({"task": {**OTHER_CODE, "model": {"name": "../x", "arguments": {}}}}, AgainstPolicy),
        ({"run": {"trainer": "os:system", "precision": "float32"}}, NoTrainer),
        ({"layout": "0" * 16}, OtherModel),
        ({"data": {"name": "/etc/passwd", "held_out": None, "held_out_by": "row"}}, AgainstPolicy),
        ({"data": {**SCHEMA.to_json(), "columns": ["a", "c"], "name": "own", "held_out": None,
                   "held_out_by": "row"}}, DataDoNotFit),
        ({"strategy": {"preset": "os:system"}}, Refused),
        ({"strategy": {"preset": "fedavg", "pipeline": "__import__('os')"}}, Refused),
    ],
)  # fmt: skip
def test_a_server_names_no_code_no_path_and_no_other_data(device, changes, expected) -> None:
    responder = device(OPEN)
    with pytest.raises(expected) as refused:
        responder.answer("train", "1", asked(announced(**changes), train()))
    assert str(responder._device.folder.parent) not in reason_of(refused.value)
    assert not (responder._device.folder / "answers.jsonl").exists()


@pytest.mark.parametrize("sample_gradients", ["auto", "opacus"])
def test_a_trainer_that_cannot_do_what_the_strategy_needs_is_named_and_data_are_not_loaded(
    device, sample_gradients
) -> None:
    local, responder = LocalTraining(clip_samples=1.0, sample_gradients=sample_gradients), device(OPEN)
    with pytest.raises(CannotTrain) as refused:
        responder.answer("train", "1", asked(announced(strategy=fedavg(local=local)), train()))
    assert "device's trainer" in reason_of(refused.value)
    assert Mean.fits == 0
    assert not (responder._device.folder / "answers.jsonl").exists()


@pytest.mark.parametrize(
    ("version", "well"),
    [("0.1.9", True), ("0.2.0", True), ("0.3.0", False), ("1.0.0", False), ("x", False)],
)
def test_one_minor_version_of_difference_is_supported(device, version, well) -> None:
    responder, content = device(OPEN), asked(announced(version=version))
    if well:
        responder.answer("query", "", content)
    else:
        with pytest.raises(OtherVersion, match="one minor version"):
            responder.answer("query", "", content)


def test_a_description_that_is_not_that_of_its_digest_is_refused(device) -> None:
    about = announced()
    other = announced(seed=1).whole()
    forged = {RECORD: type(other)({**other, "digest": about.digest})}
    with pytest.raises(PayloadError, match="digest"):
        device(OPEN).answer("query", "", forged)


@pytest.mark.parametrize(
    ("policy", "rule"),
    [
        (Policy(), "masked_only"),
        (replace(OPEN, statistics=False), "statistics"),
        (replace(OPEN, sample_noise=1.0), "sample_noise"),
        (replace(OPEN, client_noise=1.0), "client_noise"),
        (replace(OPEN, strategies=("0" * 64,)), "strategies"),
        (replace(OPEN, recipes=("heart",)), "recipes"),
    ],
)
def test_every_rule_of_the_policy_holds_on_this_path(device, policy, rule) -> None:
    responder = device(policy)
    with pytest.raises(AgainstPolicy, match=f"rule {rule}"):
        responder.answer("train", "1", asked(announced(), train()))
    assert Mean.fits == 0
    if rule != "recipes":
        answer = responder._outbox.answer(responder.answer("query", "", asked(announced())))
        assert unpack_identity(decode(answer)) == "kitchen"


def test_a_masked_round_is_opened_once_whatever_token_it_comes_with(device) -> None:
    responder, about = device(replace(OPEN, min_clients=3)), announced(strategy=MASKED)
    enrol(responder._device.folder)
    first = responder.answer("train.keys", "1", asked(about, keys("token")))
    assert responder.answer("train.keys", "1", asked(about, keys("token"))) == first
    for other in (keys("another token"), keys("token", model=bytes(31) + b"1")):
        with pytest.raises(AlreadyAnswered):
            responder.answer("train.keys", "1", asked(about, other))
        with pytest.raises(AlreadyAnswered):  # what the envelope says does not count
            responder.answer("train.keys", "2", asked(about, other))
    responder.answer("train.keys", "2", asked(about, keys("token", 2)))
    with pytest.raises((AlreadyAnswered, StaleRound)):
        responder.answer("train.keys", "1", asked(about, keys("third token")))


def test_a_packaged_data_set_is_trained_on_only_where_the_device_was_given_it(device) -> None:
    from hedgerow.datasets import load_dataset, natural

    about = {"name": "heart-disease", "held_out": 0.2, "held_out_by": "random"}
    responder = device(OPEN)
    with pytest.raises(AgainstPolicy, match="rule data"):
        responder.answer("query", "", asked(announced(data=about)))
    responder._device.change(data="heart-disease")
    with pytest.raises(Refused, match="why is in its own log"):  # it is no hospital of that set
        responder.answer("query", "", asked(announced(data=about)))
    federation = load_dataset("heart-disease").split(natural()).hold_out(0.2)
    kit = replace(responder._device.enrolled.kit, name=federation.names[0])
    responder._device.change(kit=kit)
    responder = again(responder)
    responder.answer("query", "", asked(announced(data=about)))
    found = next(iter(responder._runs.values()))
    assert len(found.data.samples(kit.name)) == len(federation.samples(kit.name))
    assert (found.data.held_out(kit.name).x == federation.held_out(kit.name).x).all()
