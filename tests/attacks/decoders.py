"""Everything that reads what comes over the network, each with messages that it takes."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from hedgerow.client.secure.signed_register import sign, verify
from hedgerow.coordinator.http_types import Refused as NoObject
from hedgerow.coordinator.http_types import json_object
from hedgerow.graphs.offer import Offer
from hedgerow.node.connection import Unreachable
from hedgerow.node.fleet import Fleet, _ids
from hedgerow.promotion.lineage import SIGNED, Lineage, Promotion
from hedgerow.recipe.announcement import RECORD, read, understand
from hedgerow.secure import messages as secure
from hedgerow.secure.codec import decode as decode_secure
from hedgerow.secure.errors import Malformed
from hedgerow.secure.primitives import Secret, identity_key
from hedgerow.strategies import decode as decode_payload
from hedgerow.strategies import encode as encode_payload
from hedgerow.strategies import parse_pipeline, scaffold
from hedgerow.strategies.downlink import decode_down, encode_down
from hedgerow.types import Client, Layout, Model, PayloadError, RoundContext, Tensor
from hedgerow.types.evaluation import Measured
from hedgerow.wire import bundle, codec, objects
from hedgerow.wire.arrays import STYPE, pack_arrays, unpack_arrays
from hedgerow.wire.content import Array, ArrayRecord, ConfigRecord, Content, MetricRecord
from hedgerow.wire.evaluation import pack_evaluation, unpack_evaluation
from hedgerow.wire.fleet import FLEET
from hedgerow.wire.messages import Coded, pack_stage, pack_train, pack_vector, unpack_train, unpack_vector
from hedgerow.wire.replies import Reply, pack_reply, unpack_reply
from hedgerow.wire.text import read_json
from tests.attacks import compressed
from tests.attacks.bends import bent_content, bent_json, bent_secure
from tests.attacks.coders import CODERS
from tests.attacks.mutations import mutated
from tests.described_runs import announced
from tests.golden.make_transcript import rehearse

LAYOUT = Layout((Tensor("a", (9, 4)), Tensor("b", (25,))), (Tensor("mean", (3,)),))
RANDOM = np.random.default_rng(0)
DELTA = RANDOM.normal(size=LAYOUT.dimension).astype(np.float32)
MODEL = Model(DELTA, np.ones(3, np.float32))
STREAMS = {"buffers": 3, "c": LAYOUT.dimension}
DOWNLINK = parse_pipeline("eden(4)")
PIPELINES = ("float32()", "error_feedback(top_k(0.1), quantize(8))", "quantize(3)", "random_k(0.2)")

Bend = Callable[[bytes, np.random.Generator], bytes]


@dataclass(frozen=True)
class Decoder:
    """A reader of bytes from outside.

    Attributes:
        read: the bytes; what it makes of them is of no interest.
        known: messages that it takes.
        refusals: the errors that are documented; any other is a fault.
        bend: changes what a message says, so that it can still be read.
    """

    read: Callable[[bytes], object]
    known: tuple[bytes, ...]
    refusals: tuple[type[Exception], ...] = (PayloadError,)
    bend: Bend | None = None

    def takes(self, data: bytes) -> bool:
        """Whether it takes the bytes; raises what is no refusal."""
        try:
            self.read(data)
        except self.refusals:
            return False
        return True


def _train(coded: Coded | None = None) -> Content:
    model = MODEL if coded is None else Model(DELTA[:0], MODEL.buffers)
    return pack_train(
        model, LAYOUT, round=3, seed=7, streams={"c": DELTA}, uncounted={"ann": 1, "bob": 2}, clients=5,
        coded=coded,
    )  # fmt: skip


def _coded() -> Content:
    arrays, _ = encode_down(DOWNLINK, 2 * DELTA, DELTA, seed=7, number=2, layout=LAYOUT)
    return _train(Coded(bytes(32), bytes(range(32)), {2: arrays}))


def _read_train(data: bytes) -> object:
    content = bundle.opened(codec.decode(data), RECORD)
    read(content)
    asked = {k: v for k, v in content.items() if k != RECORD}
    request = unpack_train(asked, LAYOUT, {"c": LAYOUT.dimension})
    sent = {} if request.coded is None else request.coded.payloads
    return [
        decode_down(DOWNLINK, arrays, DELTA, seed=request.seed, number=number, layout=LAYOUT)
        for number, arrays in sent.items()
    ]


def _trains() -> Iterable[bytes]:
    about = announced()
    yield codec.encode({**_coded(), RECORD: about.short()})
    for record in (about.whole(), about.short()):
        yield codec.encode({**_train(), RECORD: record})
        inside = ConfigRecord({**record, bundle.CONTENT: codec.encode(_train())})
        yield codec.encode({RECORD: inside})


CONTEXT = RoundContext(4, 2, Client("eve"), LAYOUT, num_examples=12)


def _replies() -> Iterable[bytes]:
    """The first byte says by which pipeline."""
    for number, text in enumerate(PIPELINES):
        payload, _ = encode_payload(parse_pipeline(text), DELTA, {}, CONTEXT)
        reply = Reply(payload, {"buffers": MODEL.buffers, "c": DELTA}, 12, {"loss": 0.5, "accuracy": 1.0})
        data = codec.encode(pack_reply(reply, round=3, client="eve"))
        yield bytes([number]) + data
        yield bytes([number]) + codec.encode(bundle.bundled(data))


def _read_reply(data: bytes) -> None:
    content = bundle.unbundled(codec.decode(data[1:]))
    reply = unpack_reply(content, LAYOUT, round=3, client="eve", max_weight=1e9, streams=STREAMS)
    decode_payload(parse_pipeline(PIPELINES[data[0] % len(PIPELINES)]), reply.payload, CONTEXT)


def _read_others(data: bytes) -> None:
    content = codec.decode(data)
    if "vector" in content:
        unpack_vector(content)
    else:
        unpack_evaluation(content, LAYOUT, round=3, client="eve")


def _others() -> Iterable[bytes]:
    yield codec.encode(pack_evaluation(Measured(12, {"loss": 0.5}), round=3, client="eve"))
    ring = {"values": RANDOM.integers(0, 2**16, 64).astype(np.uint16), "words": np.arange(3, dtype=np.uint64)}
    yield codec.encode(pack_vector(ring, b"masked"))


CONFIG = ConfigRecord({
    "a": True, "b": -5, "c": 1.5, "d": "text", "e": b"bytes", "f": [1, 2, 2**63], "g": [0.5], "h": ["x", ""],
    "i": [b"y"], "j": [False, True], "k": 2**64 - 1, "l": [],
})  # fmt: skip
METRIC = MetricRecord({"weight": 1.0, "n": 3, "many": [1.0, 2.0], "whole": [1, 2]})


def _read_record(data: bytes) -> object:
    kind = ConfigRecord if data[:1] == b"c" else MetricRecord
    return codec.decode_record(kind, data[1:])


def _read_array(data: bytes) -> object:
    head, _, values = data.partition(b"\n")
    dtype, shape = ("float32", (59,)) if head == b"plain" else ("", ())
    return unpack_arrays(ArrayRecord({"x": Array(dtype, shape, STYPE, values)}), "model")


def _arrays() -> Iterable[bytes]:
    others = (DELTA[:36].reshape(9, 4).T, np.arange(5, dtype=">i8"), np.float16(3), np.zeros((0, 3)))
    for values in (DELTA, *others):
        (array,) = pack_arrays({"x": np.asarray(values)}).values()
        yield from (head + b"\n" + array.data for head in (b"plain", b"other"))


ROOT, OBJECTS = objects.pack({**_train(), "zeros": pack_arrays({"z": np.zeros(50, np.float32)}), "s": CONFIG})
IDS = tuple(OBJECTS)


def _read_objects(data: bytes) -> object:
    """One of the objects is another; the first byte says which."""
    changed = IDS[data[0] % len(IDS)] if data else ROOT
    return objects.unpack(ROOT, {**OBJECTS, changed: data[1:]})


class Answering:
    """A connection on which everything is answered by the same bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def call(self, path: str, body: bytes, *more: Any, **headers: Any) -> bytes:
        return self.data


def _read_fleet(data: bytes) -> None:
    fleet = Fleet(Answering(data), 5)
    if (pulled := fleet.pull()) is not None:
        message, tree = pulled
        list(_ids(tree))
        codec.decode(message.content.SerializeToString())
    fleet.heartbeat()
    fleet.activate(b"key")


def _fleet() -> Iterable[bytes]:
    content = FLEET["RecordDict"].FromString(codec.encode(_train()))
    message = FLEET["Message"](
        metadata=FLEET["Metadata"](run_id=1, message_id="a" * 64, message_type="train"), content=content
    )
    tree = FLEET["ObjectTree"](object_id=ROOT)
    tree.children.extend(FLEET["ObjectTree"](object_id=each) for each in IDS)
    yield FLEET["PullMessagesResponse"](
        messages_list=[message], message_object_trees=[tree]
    ).SerializeToString()
    yield FLEET["PullMessagesResponse"]().SerializeToString()


KINDS = tuple(
    kind for kind in vars(secure).values()
    if isinstance(kind, type) and kind.__module__ == secure.__name__ and kind is not secure.Opened
)  # fmt: skip


def _read_secure(data: bytes) -> object:
    """The first byte says which message it is to be."""
    return decode_secure(KINDS[data[0] % len(KINDS) if data else 0], data[1:])


def _secure() -> Iterable[bytes]:
    names = {kind.__name__.lower(): number for number, kind in enumerate(KINDS)}
    for what, data in rehearse().transcript:
        if (kind := what.partition(" ")[0]) in names:
            yield bytes([names[kind]]) + data


PROMOTION = Promotion(
    1, "2026-11-29T19:00:00Z", "a" * 64, 1000, {"rule": "by hand"},
    Lineage("heart", "b" * 64, "run", 7, 5, {"epsilon": 1.0}, SIGNED, {"loss": 0.5}, "0.1.0"), "{}",
)  # fmt: skip
ADMINISTRATOR = Secret(bytes(range(32)))
REGISTER = sign(f'ann = "{"1" * 64}"\nbob = "{"2" * 64}"\n', ADMINISTRATOR, version=3, federation="0" * 16)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()


def _behind_a_byte(bend: Bend) -> Bend:
    return lambda data, rng: data[:1] + bend(data[1:], rng)


def _bent_object(data: bytes, rng: np.random.Generator) -> bytes:
    """An object that says something else of its children."""
    head, _, body = data[1:].partition(b"\0")
    if not body.startswith(b"{"):
        return mutated(data, rng, data)
    body = bent_json(body, rng)
    return data[:1] + head.rpartition(b" ")[0] + f" {len(body)}".encode() + b"\0" + body


DESCRIPTIONS = tuple(
    announced(**about).description.encode()
    for about in ({}, {"strategy": scaffold()}, {"graphs": Offer("a" * 64, 5).to_json()})
)

DECODERS: dict[str, Decoder] = {
    "content": Decoder(
        codec.decode, (*_trains(), codec.encode(pack_stage(b"x", _train()))), bend=bent_content
    ),
    "record": Decoder(_read_record, (b"c" + codec.encode_record(CONFIG), b"m" + codec.encode_record(METRIC))),
    "array": Decoder(_read_array, tuple(_arrays())),
    "objects": Decoder(
        _read_objects, tuple(bytes([k]) + OBJECTS[each] for k, each in enumerate(IDS)), bend=_bent_object
    ),
    "fleet": Decoder(_read_fleet, tuple(_fleet()), (PayloadError, Unreachable)),
    "train": Decoder(_read_train, tuple(_trains()), bend=bent_content),
    "reply": Decoder(_read_reply, tuple(_replies()), bend=_behind_a_byte(bent_content)),
    "evaluation and masked vector": Decoder(_read_others, tuple(_others()), bend=bent_content),
    "secure aggregation": Decoder(
        _read_secure, tuple(_secure()), (Malformed,), _behind_a_byte(bent_secure)
    ),
    "description": Decoder(lambda data: understand(_text(data)), DESCRIPTIONS, (ValueError,), bent_json),
    "promotion": Decoder(
        lambda data: Promotion.from_json(read_json(data)),
        (json.dumps(PROMOTION.to_json()).encode(),), (ValueError,), bent_json,
    ),
    "register": Decoder(
        lambda data: verify(_text(data), identity_key(ADMINISTRATOR).hex()),
        (REGISTER.encode(),), (Malformed,),
    ),
    "request of a device": Decoder(
        json_object, (b'{"name": "ann", "token": "t", "n": [1, null]}',), (NoObject,), bent_json
    ),
    **{
        step: Decoder(partial(compressed.read, step), tuple(compressed.messages(step)))
        for step in compressed.PIPELINES
    },
    **{name: Decoder(read, known) for name, (read, known) in CODERS.items()},
}  # fmt: skip
