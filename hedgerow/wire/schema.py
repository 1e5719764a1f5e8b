"""The schema of a message, as Protocol Buffers; the field numbers are those of Flower's `RecordDict`.

    message RecordDict { repeated Item items = 1 { string key = 1;
        oneof value { ArrayRecord array_record = 2; MetricRecord metric_record = 3;
                      ConfigRecord config_record = 4; } } }
    message ArrayRecord { repeated Item items = 1 { string key = 1; Array value = 2; } }
    message Array { string dtype = 1; repeated int32 shape = 2; string stype = 3; bytes data = 4; }

and the two records of values below. It is built here, in its own pool, so that a device does not need
Flower; a test compares it with the installed Flower.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "flwr.proto"

_Field = descriptor_pb2.FieldDescriptorProto

LISTS = {
    "DoubleList": "double", "SintList": "sint64", "UintList": "uint64",
    "BoolList": "bool", "StringList": "string", "BytesList": "bytes",
}  # fmt: skip
"""Messages of one field, `repeated TYPE vals = 1`."""

_NUMBERS = {"double": 1, "sint64": 2, "uint64": 3}
_NUMBER_LISTS = {"double_list": 21, "sint_list": 22, "uint_list": 23}

VALUES = {
    "MetricRecordValue": {**_NUMBERS, **_NUMBER_LISTS},
    "ConfigRecordValue": {
        **_NUMBERS, "bool": 4, "string": 5, "bytes": 6,
        **_NUMBER_LISTS, "bool_list": 24, "string_list": 25, "bytes_list": 26,
    },
}  # fmt: skip
"""Messages that are one of several values: `{field: number}`; a field has its type's name."""

_RECORDS = {"ArrayRecord": "Array", "MetricRecord": "MetricRecordValue", "ConfigRecord": "ConfigRecordValue"}


def file_descriptor() -> descriptor_pb2.FileDescriptorProto:
    """The schema, as from `protoc`."""
    file = descriptor_pb2.FileDescriptorProto(
        name="flwr/proto/recorddict.proto", package=PACKAGE, syntax="proto3"
    )
    for name, kind in LISTS.items():
        add_field(file.message_type.add(name=name), "vals", 1, kind, repeated=True)
    array = file.message_type.add(name="Array")
    add_field(array, "dtype", 1, "string")
    add_field(array, "shape", 2, "int32", repeated=True)
    add_field(array, "stype", 3, "string")
    add_field(array, "data", 4, "bytes")
    for name, fields in VALUES.items():
        value = file.message_type.add(name=name)
        value.oneof_decl.add(name="value")
        for field, number in fields.items():
            kind = field.removesuffix("_list").capitalize() + "List" if field.endswith("_list") else field
            add_field(value, field, number, kind, alternative=True)
    for name, kind in _RECORDS.items():
        add_field(_items(file.message_type.add(name=name)), "value", 2, kind)
    item = _items(file.message_type.add(name="RecordDict"))
    item.oneof_decl.add(name="value")
    for number, name in enumerate(_RECORDS, 2):
        add_field(item, name.removesuffix("Record").lower() + "_record", number, name, alternative=True)
    return file


def _items(message: descriptor_pb2.DescriptorProto) -> descriptor_pb2.DescriptorProto:
    """Give a message its only field, `repeated Item items = 1`; an item has a key."""
    add_field(message, "items", 1, f"{message.name}.Item", repeated=True)
    item = message.nested_type.add(name="Item")
    add_field(item, "key", 1, "string")
    return item


def add_field(
    message: descriptor_pb2.DescriptorProto,
    name: str,
    number: int,
    kind: str,
    *,
    repeated: bool = False,
    alternative: bool = False,
    package: str = PACKAGE,
) -> None:
    """Add a field; a kind with a capital letter is a message, and an alternative is one of several."""
    field = message.field.add(name=name, number=number)
    field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    if kind[0].isupper():
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{package}.{kind}"
    else:
        field.type = _Field.Type.Value(f"TYPE_{kind.upper()}")
    if alternative:
        field.oneof_index = 0


def message_classes(file: descriptor_pb2.FileDescriptorProto) -> dict[str, Any]:
    """The classes of a file's messages, by name without the package, in their own pool."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = message_factory.GetMessageClassesForFiles([file.name], pool)
    return {name.rpartition(".")[2]: made for name, made in found.items()}


MESSAGES = message_classes(file_descriptor())
"""The classes of all messages, by name without the package."""
