"""A device and a model that is sent as a change: what it lacks it says, and it answers a request once."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hedgerow.client.discretion import ClientFailed
from hedgerow.client.received import LacksBase
from hedgerow.node.responder import reason_of
from hedgerow.server.broadcast import Broadcasts
from hedgerow.server.request import Form, Request, make_request
from hedgerow.server.rounds import begin
from hedgerow.strategies import fedavg, parse_pipeline
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Model, ServerState
from hedgerow.wire.fields import MAIN
from tests.described_runs import LAYOUT, OPEN, Mean, again, announced, asked, installed, joined

STATELESS, FOLLOWING = (fedavg(downlink=parse_pipeline(f"{text}")) for text in (
    "quantize(8)", "error_feedback(top_k(0.5))"
))  # fmt: skip


def server(strategy: Strategy, start: float = 0.0) -> tuple[Broadcasts, ServerState]:
    return Broadcasts(strategy.downlink), begin(strategy, Model(np.full(2, start, np.float32)), LAYOUT)


def request(broadcasts: Broadcasts, state: ServerState) -> Request:
    return make_request(broadcasts, state, LAYOUT, seed=0, cohort=())


def later(broadcasts: Broadcasts, state: ServerState) -> ServerState:
    """The next round, of which the device has given proof."""
    model = replace(state.model, parameters=state.model.parameters + np.array([1, 0.25], np.float32))
    return broadcasts.sent(state, replace(state, round=state.round + 1, model=model), {"kitchen"}, LAYOUT, 0)


@pytest.mark.parametrize("strategy", [STATELESS, FOLLOWING], ids=["stateless", "following"])
def test_a_device_that_makes_no_such_model_is_sent_it_once_and_keeps_it_over_restarts(
    tmp_path: Path, strategy: Strategy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hedgerow")
    about, (broadcasts, state) = announced(strategy=strategy), server(strategy, start=0.5)
    with installed():
        device = joined(tmp_path, OPEN)
        first = request(broadcasts, state)
        with pytest.raises(LacksBase) as refused:
            device.answer("train", "1", asked(about, first.content(Form(0))))
        assert reason_of(refused.value).startswith("LacksBase:")
        assert [(record.levelname, record.exc_info) for record in caplog.records] == [("INFO", None)]
        answered = device.answer("train", "1", asked(about, first.content(Form(None))))
        # The server was killed, and asks again, as before or with less: it is the same request.
        for form in (Form(0), Form(None)):
            assert again(device).answer("train", "1", asked(about, first.content(form))) == answered
        assert Mean.fits == 1
        for number in (2, 3):
            device, state = again(device), later(broadcasts, state)
            following = request(broadcasts, state)
            form = following.form("kitchen")
            assert form.since is not None
            device.answer("train", str(number), asked(about, following.content(form), whole=False))
        assert Mean.fits == 3
        for file in (device._device.folder / "bases").glob("*"):
            file.write_bytes(file.read_bytes()[:-1] + b"!")
        state = later(broadcasts, state)
        following = request(broadcasts, state)
        with pytest.raises(LacksBase):
            device.answer("train", "4", asked(about, following.content(following.form("kitchen"))))


def test_a_device_that_makes_the_model_itself_is_never_sent_it(tmp_path: Path) -> None:
    about, (broadcasts, state) = announced(strategy=STATELESS), server(STATELESS)
    with installed():
        device = joined(tmp_path, OPEN)
        for number in (1, 2):
            device.answer("train", str(number), asked(about, request(broadcasts, state).content(Form(0))))
            state = later(broadcasts, state)
        assert Mean.fits == 2
        assert not (device._device.folder / "bases").exists()


def test_a_model_that_is_not_what_the_request_names_is_not_trained_and_not_kept(tmp_path: Path) -> None:
    about, (broadcasts, state) = announced(strategy=FOLLOWING), server(FOLLOWING, start=0.5)
    content = request(broadcasts, later(broadcasts, state)).content(Form(None))
    with installed():
        device = joined(tmp_path, OPEN)
        for key in ("base", "model"):
            config = type(content[MAIN])({**content[MAIN], key: bytes(32)})
            with pytest.raises(ClientFailed):
                device.answer("train", "2", asked(about, {**content, MAIN: config}))
        plain = announced()
        with pytest.raises(ClientFailed):
            device.answer("train", "2", asked(plain, content))
    assert Mean.fits == 0
