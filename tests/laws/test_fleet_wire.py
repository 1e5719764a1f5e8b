"""What a node says to a SuperLink is what Flower's own node would say."""

import numpy as np
import pytest
from flwr.app import ConfigRecord as FlowerConfig
from flwr.proto import error_pb2, fleet_pb2, heartbeat_pb2, message_pb2, node_pb2, recorddict_pb2
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from google.protobuf import descriptor_pb2
from hypothesis import given, settings

from hedgerow.records import to_flower
from hedgerow.types import PayloadError
from hedgerow.wire import fleet, objects
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
