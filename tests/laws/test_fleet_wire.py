"""What a node says to a SuperLink is what Flower's own node would say."""

import numpy as np
import pytest
from flwr.app import ConfigRecord as FlowerConfig
from flwr.app.message.message import make_message
from flwr.common.serde import message_from_proto
from flwr.proto import error_pb2, fleet_pb2, heartbeat_pb2, message_pb2, node_pb2, recorddict_pb2
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from google.protobuf import descriptor_pb2
from hypothesis import given, settings

from hedgerow.node.outbox import Outbox, Pending
from hedgerow.node.reply import reply_to
from hedgerow.records import to_flower
from hedgerow.types import PayloadError
from hedgerow.wire import codec, fleet, objects
from hedgerow.wire.arrays import pack_arrays
from hedgerow.wire.content import ConfigRecord
from tests.laws.test_wire import contents

MODULES = (error_pb2, fleet_pb2, heartbeat_pb2, message_pb2, node_pb2, recorddict_pb2)


def form(field: descriptor_pb2.FieldDescriptorProto) -> tuple:
    kind = field.type_name.rpartition(".")[2]
    return field.number, field.type, field.label, kind, field.proto3_optional


def test_every_field_has_the_number_and_type_that_flower_gives_it() -> None:
    theirs = {}
    for module in MODULES:
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        theirs |= {message.name: {f.name: form(f) for f in message.field} for message in file.message_type}
    fields = 0
    for message in fleet.file_descriptor().message_type:
        for field in message.field:
            assert form(field) == theirs[message.name][field.name], (message.name, field.name)
            fields += 1
    assert (len(fleet.FLEET), fields) == (23, 52)


@given(contents)
@settings(max_examples=60)
def test_the_objects_are_those_of_flower_and_come_back(content) -> None:
    root, found = objects.pack(content)
    theirs = {each: made.deflate() for each, made in get_all_nested_objects(to_flower(content)).items()}
    assert found == theirs
    assert list(found)[-1] == root
    assert objects.unpack(root, found) == content


def test_a_large_array_travels_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=2**21 + 5).astype(np.float32)
    content = {"a": pack_arrays({"x": values, "zeros": np.zeros(2**22, np.float32)}), "b": ConfigRecord()}
    root, found = objects.pack(content)
    assert max(map(len, found.values())) <= objects.CHUNK + 100
    assert found == {
        each: made.deflate() for each, made in get_all_nested_objects(to_flower(content)).items()
    }
    assert objects.unpack(root, found) == content


def test_objects_that_are_none_are_refused() -> None:
    root, found = objects.pack({"a": pack_arrays({"x": np.arange(3)}), "b": ConfigRecord({"c": 1})})
    for each, data in found.items():
        for other in (data[:-1], b"", data.replace(b"\0", b" ", 1), b"Array  2\0{}", b"Message  0\0"):
            with pytest.raises(PayloadError, match="cannot be read"):
                objects.unpack(root, {**found, each: other})
        missing = {key: value for key, value in found.items() if key != each}
        with pytest.raises(PayloadError, match="objects cannot be read"):
            objects.unpack(root, missing)
    assert FlowerConfig({"c": 1}).object_id in found


@pytest.mark.parametrize("error", ["", "ClientFailed: why is in its own log"])
def test_a_reply_is_the_message_that_flower_would_make_and_the_same_each_time(tmp_path, error) -> None:
    asked = fleet.FLEET["Message"](
        metadata=fleet.FLEET["Metadata"](
            run_id=2**63 + 1,
            message_id="a" * 64,
            src_node_id=1,
            dst_node_id=2**64 - 1,
            group_id="3",
            ttl=100.0,
            message_type="train",
            created_at=1000.0,
            src_task_id=7,
        )
    )
    content = {"a": pack_arrays({"x": np.arange(5.0)}), "b": ConfigRecord({"c": [1, 2]})}
    outbox = Outbox(tmp_path)
    outbox.keep("k", codec.encode(content))
    come = Pending("a" * 64, b"", b"", answer="" if error else "k", error=error, made=1010.0, seconds=1.0)
    message, tree, found = reply_to(asked, come, 2**64 - 1, outbox)
    assert reply_to(asked, come, 2**64 - 1, outbox)[0] == message

    theirs = message_from_proto(message_pb2.Message.FromString(message.SerializeToString()))
    flowers = make_message(theirs.metadata, *([None, theirs.error] if error else [to_flower(content)]))
    assert flowers.object_id == message.metadata.message_id == tree.object_id
    assert found == {each: made.deflate() for each, made in get_all_nested_objects(flowers).items()}
    assert get_object_tree(flowers).SerializeToString() == tree.SerializeToString()
    about = theirs.metadata
    assert (about.reply_to_message_id, about.src_node_id, about.dst_node_id) == ("a" * 64, 2**64 - 1, 1)
    assert (about.group_id, about.message_type, about.ttl, about.dst_task_id) == ("3", "train", 90.0, 7)
    assert theirs.has_error() == bool(error)
