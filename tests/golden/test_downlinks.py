"""Requests with a downlink have the bytes that they had, and say what they said."""

import hashlib
import json

import pytest

from hedgerow.types import Layout, Tensor
from hedgerow.wire import codec
from hedgerow.wire.messages import unpack_train
from tests.golden.make_vectors import FOLDER

RUNS = json.loads((FOLDER / "downlinks.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", RUNS)
def test_what_a_client_decodes_has_the_hash_that_the_request_names(name: str) -> None:
    run = RUNS[name]
    layout = Layout(
        *(tuple(map(_tensor, run["layout"][kind])) for kind in ("parameters", "buffers", "constants"))
    )
    lacking = [message["lacks"] for message in run["messages"] if "lacks" in message]
    answered = [message for message in run["messages"] if "lacks" not in message]
    assert len(answered) == 4
    assert len(lacking) == 1
    for message in answered:
        request = unpack_train(codec.decode(bytes.fromhex(message["request"])), layout)
        assert request.coded is not None
        assert hashlib.sha256(bytes.fromhex(message["model"])).digest() == request.coded.model
    # The client has missed round 4, whose payload comes with that of round 5, or is in it.
    assert list(request.coded.payloads) == ([3, 4] if name == "error feedback" else [4])


def _tensor(told: str) -> Tensor:
    name, _, shape = told.partition(" ")
    return Tensor(name, tuple(json.loads(shape)))
