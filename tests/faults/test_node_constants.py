"""A device is sent a model's constants once, keeps its own layers, and answers a request once even so."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np
import pytest

from hedgerow.client.constants import LacksConstants
from hedgerow.client.discretion import ClientFailed
from hedgerow.client.trainers import TRAINERS
from hedgerow.node.responder import reason_of
from hedgerow.server.broadcast import Broadcasts
from hedgerow.server.request import Form, make_request
from hedgerow.server.rounds import begin
from hedgerow.strategies import fedavg, fedper
from hedgerow.types import Fit, Layout, Model, Tensor
from hedgerow.wire.codec import decode
from hedgerow.wire.content import Content
from hedgerow.wire.messages import named_only
from hedgerow.wire.replies import unpack_reply
from tests.described_runs import OPEN, again, announced, asked, joined

LAYOUT = Layout((Tensor("body", (2,)), Tensor("head", (2,))), constants=(Tensor("frozen", (3,)),))
FROZEN = np.array([1, 2, 3], np.float32)
PERSONAL = fedper(personal=("head",))


class Frozen:
    """Adds the samples' mean to all that it trains, and the constants to that."""

    layout = LAYOUT
    fits = 0
    seen: ClassVar[list[list[float]]] = []

    def initial(self, seed: int) -> Model:
        return Model(np.zeros(4, np.float32), constants=FROZEN)

    def fit(self, model: Model, data: Any, local: Any, **where: Any) -> Fit:
        Frozen.fits += 1
        Frozen.seen.append([*model.parameters.tolist(), *model.constants.tolist()])
        return Fit(np.full(4, data.x.mean(), np.float32), model.buffers, len(data), {"loss": 1.0})

    def evaluate(self, model: Model, data: Any) -> dict[str, float]:
        return {"loss": 1.0}


def make(task: Any, computing: Any) -> Frozen:
    return Frozen()


@contextmanager
def installed() -> Iterator[None]:
    Frozen.fits, Frozen.seen = 0, []
    with patch.object(TRAINERS, "_targets", {**TRAINERS._targets, "mean": f"{__name__}:make"}):
        yield


def request(strategy: Any, round: int) -> tuple[Content, Content]:
    """What a device is sent that has the constants, and one that has said that it has not."""
    state = begin(strategy, Frozen().initial(0), LAYOUT)
    layout = strategy.split(LAYOUT).shared
    found = make_request(Broadcasts(), state, layout, seed=0, cohort=("kitchen",), ahead=round)
    return found.content(Form()), found.content(Form(constants=True))


def test_constants_are_sent_once_and_a_request_with_them_is_the_same_request(tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO, "hedgerow")
    about = announced(layout=LAYOUT.fingerprint)
    named, whole = request(fedavg(), 1)
    assert named_only(whole).keys() == named.keys()
    with installed():
        device = joined(tmp_path, OPEN)
        with pytest.raises(LacksConstants) as refused:
            device.answer("train", "1", asked(about, named))
        assert reason_of(refused.value).startswith("LacksConstants:")
        told = [(record.levelname, record.exc_info) for record in caplog.records]
        assert told == [("INFO", None)], "no error: each device asks once"
        answered = device.answer("train", "1", asked(about, whole))
        kept = device._outbox.answer(answered)
        # The server was killed, and asks again: the device has the constants by now, and the answer too.
        assert again(device).answer("train", "1", asked(about, named)) == answered
        assert again(device)._outbox.answer(answered) == kept
        assert Frozen.fits == 1
        again(device).answer("train", "2", asked(about, request(fedavg(), 2)[0], whole=False))
        assert Frozen.seen[-1][4:] == FROZEN.tolist()


def test_constants_of_another_hash_are_refused_and_not_kept(tmp_path) -> None:
    about = announced(layout=LAYOUT.fingerprint)
    named, whole = request(fedavg(), 1)
    other = {**whole, "hedgerow": type(whole["hedgerow"])({**whole["hedgerow"], "constants": "0" * 64})}
    with installed():
        device = joined(tmp_path, OPEN)
        with pytest.raises(ClientFailed):
            device.answer("train", "1", asked(about, other))
        with pytest.raises(LacksConstants):
            device.answer("train", "1", asked(about, named))
    assert Frozen.fits == 0


def test_layers_of_its_own_stay_on_the_device_and_outlive_its_restart(tmp_path) -> None:
    about, layout = announced(strategy=PERSONAL, layout=LAYOUT.fingerprint), PERSONAL.split(LAYOUT).shared
    with installed():
        device = joined(tmp_path, OPEN)
        for round in (1, 2, 3):
            content = request(PERSONAL, round)[1 if round == 1 else 0]
            answer = device._outbox.answer(device.answer("train", str(round), asked(about, content)))
            told = unpack_reply(
                decode(answer), layout, round=round, client="kitchen", max_weight=9, streams={}
            )
            assert told.payload.values.tolist() == [2.5, 2.5]
            device = again(device)
    heads = [seen[2:4] for seen in Frozen.seen]
    assert heads == [[0, 0], [2.5, 2.5], [5, 5]]


def test_an_error_in_place_of_an_update_is_listed_as_an_answer(tmp_path) -> None:
    about = announced(layout=LAYOUT.fingerprint)
    with installed(), patch.object(Frozen, "fit", side_effect=ValueError("the samples are such and such")):
        device = joined(tmp_path, OPEN)
        with pytest.raises(ClientFailed, match="why is in its own log"):
            device.answer("train", "1", asked(about, request(fedavg(), 1)[1]))
    assert '"kind": "train"' in (device._device.folder / "answers.jsonl").read_text()
