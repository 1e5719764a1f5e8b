"""What our own node answers a server that asks for more than the device gives."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hedgerow.client.policy import AgainstPolicy, Policy
from hedgerow.client.policy_file import NAME, policy_text
from hedgerow.client.trainers import TRAINERS
from hedgerow.node.device import Device, Enrolled
from hedgerow.node.errors import DataDoNotFit, NoTrainer, OtherModel, OtherVersion, UnknownDescription
from hedgerow.node.kit import Kit
from hedgerow.node.outbox import Outbox
from hedgerow.node.responder import Responder, reason_of
from hedgerow.recipe.announcement import RECORD, Announcement
from hedgerow.recipe.own_data import OwnSchema
from hedgerow.recipe.strategy import describe
from hedgerow.secure.codec import encode
from hedgerow.secure.errors import AlreadyAnswered, Refused, StaleRound
from hedgerow.secure.messages import Setup
from hedgerow.strategies import fedavg, secure_fedavg
from hedgerow.strategies.transforms.mask import shape_of
from hedgerow.types import Fit, Layout, Model, PayloadError, Tensor
from hedgerow.wire.content import Content
from hedgerow.wire.messages import pack_stage, pack_train, unpack_identity

LAYOUT = Layout((Tensor("weight", (2,)),))
SCHEMA = OwnSchema(columns=("a", "b"), classes=("no", "yes"), lowest=(0.0,), highest=(9.0,))
RUN = "0" * 31 + "1"
OPEN = Policy.unenrolled()
MASKED = secure_fedavg(min_clients=3, dropout=0.0)


class Mean:
    """Moves the model to the mean of the samples."""

    layout = LAYOUT
    fits = 0

    def initial(self, seed: int) -> Model:
        return Model(np.zeros(2, np.float32))

    def fit(self, model: Model, data: Any, local: Any, **where: Any) -> Fit:
        Mean.fits += 1
        return Fit(data.x.mean(0) - model.parameters, model.buffers, len(data), {"loss": 1.0})

    def evaluate(self, model: Model, data: Any) -> dict[str, float]:
        return {"loss": 1.0}


@pytest.fixture(autouse=True)
def trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trainer that is installed on the device."""
    targets = {**TRAINERS._targets, "mean": f"{__name__}:Mean"}
    monkeypatch.setattr(TRAINERS, "_targets", targets)
    monkeypatch.setattr(TRAINERS, "get", lambda name: lambda task, computing: Mean())
    Mean.fits = 0


@pytest.fixture
def device(tmp_path: Path) -> Callable[[Policy], Responder]:
    (tmp_path / "own.csv").write_text("a,b,label\n1,2,no\n3,4,yes\n")

    def make(policy: Policy) -> Responder:
        kit = Kit("0" * 16, "kitchen", "https://localhost:1")
        made = Device.make(tmp_path / "device", Enrolled(kit, True, 1, str(tmp_path / "own.csv"), 0.0))
        (made.folder / NAME).write_text(policy_text(policy))
        (made.folder / NAME).chmod(0o600)
        return Responder(made, Outbox(made.folder / "outbox"))

    return make


def description(strategy: Any = None, **changes: Any) -> dict[str, Any]:
    found = {
        "strategy": strategy if isinstance(strategy, dict) else describe(strategy or fedavg()),
        "task": {"kind": "classification", "model": {"name": "logistic", "arguments": {}}, "lora": None},
        "data": {
            **SCHEMA.to_json(), "name": "own", "input_shape": [2], "num_outputs": 2, "held_out": None,
            "held_out_by": "row",
        },
        "run": {"trainer": "mean", "precision": "float32"},
        "layout": LAYOUT.fingerprint,
        "seed": 0,
    }  # fmt: skip
    return {**found, **changes}


def announced(version: str = "0.1.0", **changes: Any) -> Announcement:
    return Announcement.of(description(**changes), run=RUN, version=version)


def asked(about: Announcement, content: Content | None = None, *, whole: bool = True) -> Content:
    return {**(content or {}), RECORD: about.whole() if whole else about.short()}


def train(round: int = 1, value: float = 0.0) -> Content:
    return pack_train(Model(np.full(2, value, np.float32)), LAYOUT, round=round, seed=0)


def test_a_run_is_known_by_its_digest_once_it_was_described(device) -> None:
    about, responder = announced(), device(OPEN)
    with pytest.raises(UnknownDescription) as refused:
        responder.answer("train", "1", asked(about, train(), whole=False))
    assert reason_of(refused.value) == "unknown-description"
    key = responder.answer("query", "", asked(about))
    outbox = Outbox(responder._device.folder / "outbox")
    assert outbox.answer(key) is not None
    assert responder.answer("train", "1", asked(about, train(), whole=False)) in names(outbox)
    fresh = Responder(Device(responder._device.folder), outbox)  # after a restart
    fresh.answer("train", "2", asked(about, train(2), whole=False))


def names(outbox: Outbox) -> set[str]:
    return {file.name for file in outbox._answers.iterdir()}


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
        assert (
            unpack_identity(_content(responder, responder.answer("query", "", asked(announced()))))
            == "kitchen"
        )


def _content(responder: Responder, key: str) -> Content:
    from hedgerow.wire.codec import decode

    return decode(responder._outbox.answer(key) or b"")


def keys(token: str, round: int = 1, model: bytes = bytes(32)) -> Content:
    shape, plan = shape_of(MASKED.pipeline, LAYOUT, 3), MASKED.pipeline.secure.plan(3)
    setup = Setup(
        token, round, ("attic", "barn", "kitchen"), plan.neighbours, plan.threshold, plan.survivors,
        shape.ring.bits, shape.length, shape.words, model,
    )  # fmt: skip
    return pack_stage(encode(setup))


def test_a_masked_round_is_opened_once_whatever_token_it_comes_with(device) -> None:
    from hedgerow.client.secure.enrolment import enrol

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
