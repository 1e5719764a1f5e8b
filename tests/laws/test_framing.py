"""How many bytes of a record are not its payload, for each kind of message: no number is larger than stated.

Payload is what a message is for: the values of arrays; names, hashes, keys, signatures, shares and numbers
of a secure aggregation. Everything else is framing: names of records and arrays, types, lengths, heads.
"""

from collections.abc import Iterator

import numpy as np
import pytest

from hedgerow.recipe.announcement import RECORD, Announcement
from hedgerow.ring.vector import RingVector
from hedgerow.secure.codec import decode
from hedgerow.secure.messages import (
    Advert,
    Adverts,
    Delivery,
    Masked,
    Revealed,
    Setup,
    Shares,
    Signed,
    Survivors,
    Unmask,
)
from hedgerow.strategies import TRANSFORMS, encode, parse_pipeline
from hedgerow.types import Client, Layout, Model, RoundContext
from hedgerow.types.evaluation import Measured
from hedgerow.wire import sizes
from hedgerow.wire.content import Content
from hedgerow.wire.evaluation import pack_evaluation
from hedgerow.wire.messages import pack_identity, pack_stage, pack_train, pack_vector
from hedgerow.wire.replies import Reply, pack_reply
from tests.laws.test_bytes import PIPELINES
from tests.secure_round import Rehearsal, names

LAYOUT = Layout.flat(1000)
NAME = "client-0001"
WHERE = {"round": 100, "client": NAME}

TRAIN, CONSTANTS, REPLY, MORE, EVALUATED, RUN, STAGE, ITEM = 270, 355, 340, 175, 175, 180, 40, 5
"""Largest framing: of a request, one that names its constants by hash, a reply with one array, each further
array, what a client measured, the run that a request to a device names, a stage of secure aggregation, and
each value in that."""


def framing(content: Content, payload: int) -> int:
    return sizes.measure(content) - payload


def test_of_a_request_to_train_or_to_evaluate() -> None:
    model = Model(np.zeros(LAYOUT.dimension, np.float32))
    plain = pack_train(model, LAYOUT, round=100, seed=2**31)
    frozen = pack_train(model, LAYOUT, round=100, seed=2**31, constants="a" * 64)
    assert framing(plain, model.parameters.nbytes) <= TRAIN
    assert framing(frozen, model.parameters.nbytes) <= CONSTANTS
    assert framing(pack_identity(NAME), len(NAME)) <= 40
    run = Announcement.of({"strategy": {}}, run="0" * 32, version="0.1.0")
    assert framing({RECORD: run.short()}, 0) <= RUN


@pytest.mark.parametrize("name", sorted(set(PIPELINES) - {"mask"}))
def test_of_a_reply_by_each_step(name: str) -> None:
    x = np.random.default_rng(1).standard_normal(LAYOUT.dimension).astype(np.float32)
    context = RoundContext(1, 100, Client(NAME), LAYOUT, num_examples=600, seeded_noise=True)
    payload, _ = encode(parse_pipeline(PIPELINES[name]), x, {}, context)
    reply = Reply(payload, {}, 600, {"loss": 0.5})
    found = framing(pack_reply(reply, **WHERE), sum(array.nbytes for array in payload.arrays.values()))
    assert found <= REPLY + MORE * (len(payload.arrays) - 1)
    assert set(PIPELINES) == set(TRANSFORMS.names()) | {"chain"}


def test_of_what_a_client_measures() -> None:
    assert framing(pack_evaluation(Measured(100, {"loss": 1.0, "accuracy": 0.5}), **WHERE), 0) <= EVALUATED


def test_of_a_masked_vector() -> None:
    vector = RingVector(np.zeros(9999, np.uint32), np.zeros(7, np.uint64))
    arrays = {"values": vector.values.view(np.uint8), "words": vector.words}
    content = pack_vector(arrays, b"m" * 100)
    assert framing(content, sum(a.nbytes for a in arrays.values()) + 100) <= 2 * MORE + STAGE


KINDS = {
    "setup": Setup, "advert": Advert, "adverts": Adverts, "shares": Shares, "delivery": Delivery,
    "masked": Masked, "survivors": Survivors, "signed": Signed, "unmask": Unmask, "revealed": Revealed,
}  # fmt: skip


def values(message: object) -> Iterator[int]:
    """The size of each value: a number has 8 bytes."""
    if isinstance(message, int):
        yield 8
    elif isinstance(message, bytes | str):
        yield len(message)
    else:
        parts = message if isinstance(message, tuple) else tuple(vars(message).values())
        yield 0
        for part in parts:
            yield from values(part)


def test_of_each_stage_of_secure_aggregation_it_is_five_bytes_a_value() -> None:
    rehearsal = Rehearsal(names(8))
    rehearsal.run()
    seen = set()
    for what, data in rehearsal.transcript:
        kind = what.split(" ")[0]
        if kind == "vector":
            continue
        sent = [*values(decode(KINDS[kind], data))]
        assert len(data) <= sum(sent) + ITEM * len(sent), what
        assert framing(pack_stage(data), len(data)) <= STAGE
        seen.add(kind)
    assert seen == set(KINDS)
