"""A message's bytes are those of Flower's `RecordDict`; others are refused."""

import re

import numpy as np
import pytest
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto import recorddict_pb2
from google.protobuf import descriptor_pb2
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.records import from_flower, measure, to_flower
from hedgerow.types import Layout, Model, Payload, PayloadError
from hedgerow.wire import codec, schema, sizes
from hedgerow.wire.arrays import pack_arrays
from hedgerow.wire.content import ConfigRecord, MetricRecord
from hedgerow.wire.messages import pack_identity, pack_stage, pack_train, pack_vector, unpack_train
from hedgerow.wire.replies import Reply, pack_reply

names = st.text(max_size=40)
numbers = st.one_of(st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False))


def lists(kind):
    return st.lists(kind, max_size=4)


number_lists = st.one_of(
    lists(st.integers(0, 2**64 - 1)),
    lists(st.integers(-(2**63), 2**63 - 1)),
    lists(st.floats(allow_nan=False)),
)
arrays = st.dictionaries(
    names,
    st.sampled_from([np.zeros(0), np.arange(6, dtype=np.uint8), np.ones((2, 3), np.float32)]),
    max_size=3,
)
records = st.one_of(
    arrays.map(pack_arrays),
    st.dictionaries(names, st.one_of(numbers, number_lists), max_size=3).map(MetricRecord),
    st.dictionaries(
        names,
        st.one_of(
            numbers, st.booleans(), st.text(), st.binary(), number_lists,
            lists(st.booleans()), lists(st.text()), lists(st.binary()),
        ),
        max_size=4,
    ).map(ConfigRecord),
)  # fmt: skip
contents = st.dictionaries(names, records, max_size=4)


def test_the_schema_is_the_one_that_flower_has() -> None:
    theirs = descriptor_pb2.FileDescriptorProto()
    recorddict_pb2.DESCRIPTOR.CopyToProto(theirs)
    found = {message.name: message for message in schema.file_descriptor().message_type}
    assert found == {message.name: message for message in theirs.message_type}
    assert theirs.package == schema.PACKAGE


@given(contents)
def test_the_bytes_are_those_of_flower_and_come_back(content) -> None:
    data, flowers = codec.encode(content), to_flower(content)
    assert data == recorddict_to_proto(flowers).SerializeToString()
    assert codec.decode(data) == content == from_flower(flowers)
    assert recorddict_from_proto(recorddict_pb2.RecordDict.FromString(data)) == flowers
    assert [type(record) for record in codec.decode(data).values()] == [type(r) for r in content.values()]
    assert sizes.measure(content) == measure(flowers) == len(data)


def is_a_content_or_refused(data: bytes) -> None:
    try:
        content = codec.decode(data)
    except PayloadError:
        return
    assert len(codec.encode(content)) == len(data)


@given(st.binary(max_size=60))
def test_bytes_are_a_content_or_refused(data) -> None:
    is_a_content_or_refused(data)


@given(contents, st.data())
def test_a_changed_bit_is_another_content_or_refused(content, draw) -> None:
    data = bytearray(codec.encode({**content, "a": ConfigRecord({"b": 300, "c": [1, 2]})}))
    data[draw.draw(st.integers(0, len(data) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    is_a_content_or_refused(bytes(data))


VALUE = codec.encode({"a": ConfigRecord({"b": 1})})


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (VALUE[:-1], "cannot be read"),
        (VALUE + b"\x00", "cannot be read"),
        (VALUE + b"\x78\x01", "shortest way"),  # a field that is not known
        (VALUE + VALUE, "'a' occurs twice"),
        (b"\x0a\x03\x0a\x01a", "'a' has no value"),
        (b"\x8a\x00" + VALUE[1:], "shortest way"),  # a number in more bytes than it needs
        (b"\x0a\x02\x0a\x00", "shortest way"),  # an empty text that is written
        (b"\x0a\x0a\x0a\x01a\x12\x05\x0a\x03\x0a\x01b", "'b' occurs twice, or is empty"),
        (b"\x0a\x0a\x0a\x01a\x22\x05\x0a\x03\x0a\x01b", "'b' has no value"),
        (b"\x0a\x03\x0a\x01\xff", "cannot be read"),  # no text
    ],
    ids=lambda value: value.hex() if isinstance(value, bytes) else value,
)
def test_each_thing_is_written_in_one_way(data, why) -> None:
    with pytest.raises(PayloadError, match=re.escape(why)):
        codec.decode(data)


@pytest.mark.parametrize("value", [None, {}, [1, "a"], [[1]], 2**64, "\ud800"], ids=ascii)
def test_what_no_record_may_hold_is_an_error_here(value) -> None:
    with pytest.raises((TypeError, ValueError)):
        codec.encode({"a": ConfigRecord({"b": value})})


def test_every_message_is_the_same_on_flower_and_as_bytes() -> None:
    layout, model = Layout.flat(3), Model(np.arange(3, dtype=np.float32))
    request = pack_train(model, layout, round=2, seed=1, uncounted={"a": 1}, clients=4)
    values = {"values": np.arange(3, dtype=np.int8), "scale": np.ones(1, np.float32)}
    reply = Reply(Payload(values, 2.0), {"buffers": np.zeros(2, np.float32)}, 7, {"loss": 0.5})
    messages = [
        pack_identity("a"), request, pack_reply(reply, round=2, client="a"), pack_stage(b"said"),
        pack_stage(b"said", request), pack_vector({"values": np.zeros(2, np.uint8)}, b""),
    ]  # fmt: skip
    for content in messages:
        data = codec.encode(content)
        assert data == recorddict_to_proto(to_flower(content)).SerializeToString()
        assert codec.decode(data) == content
    assert unpack_train(codec.decode(codec.encode(request)), layout).uncounted == {"a": 1}


@pytest.mark.parametrize(
    "changed", [{"uncounted": ["a", "b"]}, {"uncounted": [1]}, {"uncounted-since": ["1"]}, {"uncounted": "a"}]
)
def test_who_was_not_counted_is_names_and_rounds(changed) -> None:
    layout = Layout.flat(3)
    request = pack_train(Model(np.zeros(3, np.float32)), layout, round=2, seed=1, uncounted={"a": 1})
    request["hedgerow"].update(changed)
    with pytest.raises(PayloadError, match="equally long"):
        unpack_train(request, layout)
