"""Content as bytes, and back: the bytes of Flower's `RecordDict`, without Flower.

Reading is strict, because the bytes come from outside: everything has exactly one encoding, with no
unknown fields and no trailing bytes.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from hedgerow.types import PayloadError
from hedgerow.wire.content import Array, ArrayRecord, ConfigRecord, Content, MetricRecord, Record
from hedgerow.wire.schema import MESSAGES

R = TypeVar("R", bound=Record)

_FIELDS: dict[type[Record], str] = {
    ArrayRecord: "array_record",
    MetricRecord: "metric_record",
    ConfigRecord: "config_record",
}
_RECORDS: dict[str, type[Record]] = {field: kind for kind, field in _FIELDS.items()}

# An empty list gets the first kind; bool comes before int, because a bool is also an int.
_METRICS = {float: ("double", "DoubleList"), int: ("sint64", "SintList")}
_SETTINGS = {
    bool: ("bool", "BoolList"), int: ("sint64", "SintList"), float: ("double", "DoubleList"),
    str: ("string", "StringList"), bytes: ("bytes", "BytesList"),
}  # fmt: skip
_LARGEST = 2**63 - 1
_KINDS = {MetricRecord: ("MetricRecordValue", _METRICS), ConfigRecord: ("ConfigRecordValue", _SETTINGS)}


def encode(content: Content) -> bytes:
    """The bytes of a message's content.

    Raises:
        TypeError: a value is not allowed in a record.

    >>> encode({"a": ConfigRecord({"b": 1})}).hex()
    '0a0e0a016122090a070a016212021002'
    """
    message = MESSAGES["RecordDict"](items=[_item(key, record) for key, record in content.items()])
    return bytes(message.SerializeToString())


def size_of(key: str, record: Record) -> int:
    """Bytes that one record takes in a message; the sizes of all its records add up."""
    return int(MESSAGES["RecordDict"](items=[_item(key, record)]).ByteSize())


def decode(data: bytes) -> Content:
    """Undo `encode`. Memory stays within about 33 times the bytes; only small values come near that.

    Of what comes over a network, only pieces of a megabyte at most are read so (`bundle.small`); all else
    comes as objects, of which `objects.unpack` counts the small values.

    Raises:
        PayloadError: the bytes are not an encoded content.

    >>> decode(bytes.fromhex("0a0e0a016122090a070a016212021002"))
    {'a': {'b': 1}}
    """
    message = MESSAGES["RecordDict"]()
    _parse(message, data)
    content: dict[str, Record] = {}
    for item in message.items:
        field = _only(item, content)
        content[item.key] = _read(_RECORDS[field], getattr(item, field))
    return content


def encode_record(record: Record) -> bytes:
    """The bytes of a single record."""
    return bytes(_message(record).SerializeToString())


def decode_record(kind: type[R], data: bytes) -> R:
    """Undo `encode_record`.

    Raises:
        PayloadError: the bytes are not an encoded record of this kind.

    >>> decode_record(ConfigRecord, encode_record(ConfigRecord({"b": 1})))
    {'b': 1}
    """
    message = MESSAGES[kind.__name__]()
    _parse(message, data)
    return _read(kind, message)


def _item(key: str, record: Record) -> Any:
    return MESSAGES["RecordDict"].Item(key=key, **{_FIELDS[type(record)]: _message(record)})


def _message(record: Record) -> Any:
    kind = type(record)
    name = kind.__name__
    make = MESSAGES[name].Item
    if isinstance(record, ArrayRecord):
        items = [make(key=at, value=_array(array)) for at, array in record.items()]
    else:
        items = [make(key=at, value=_value(value, *_KINDS[kind])) for at, value in record.items()]
    return MESSAGES[name](items=items)


def _parse(message: Any, data: bytes) -> None:
    """Read bytes into a message, strictly; raises `PayloadError`."""
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise PayloadError(f"the message of {len(data)} bytes cannot be read: {error}") from None
    message.DiscardUnknownFields()
    if message.ByteSize() != len(data):
        raise PayloadError(
            f"the message has {len(data)} bytes; its content takes {message.ByteSize()}: everything must be"
            " written once, in the shortest way, and nothing else"
        )


def _array(array: Array) -> Any:
    return MESSAGES["Array"](dtype=array.dtype, shape=array.shape, stype=array.stype, data=array.data)


def _value(value: Any, name: str, kinds: Mapping[type, tuple[str, str]]) -> Any:
    values = value if isinstance(value, list) else [value]
    for kind, (field, many) in kinds.items():
        if all(isinstance(each, kind) for each in values):
            if kind is int and any(each > _LARGEST for each in values):
                field, many = "uint64", "UintList"
            if not isinstance(value, list):
                return MESSAGES[name](**{field: value})
            listed = MESSAGES[many](vals=value)
            return MESSAGES[name](**{f"{many.removesuffix('List').lower()}_list": listed})
    allowed = ", ".join(kind.__name__ for kind in kinds)
    raise TypeError(f"{value!r} cannot be sent; it must be one of {allowed}, or a list of one of these")


def _read(kind: type[R], message: Any) -> R:
    if kind is ArrayRecord:
        arrays: Any = kind()
        for item in message.items:
            if item.key in arrays or not item.HasField("value"):
                raise PayloadError(f"the array {item.key!r} occurs twice, or is empty")
            value = item.value
            arrays[item.key] = Array(value.dtype, tuple(value.shape), value.stype, value.data)
        return arrays  # type: ignore[no-any-return]
    record: Any = kind()
    for item in message.items:
        field = _only(item.value, record, item.key)
        value = getattr(item.value, field)
        record[item.key] = list(value.vals) if field.endswith("_list") else value
    return record  # type: ignore[no-any-return]


def _only(holder: Any, known: Mapping[str, Any], key: str | None = None) -> str:
    """The field of a message's value; raises `PayloadError` if it has none, or the key is a duplicate."""
    name: str = holder.key if key is None else key
    field: str | None = holder.WhichOneof("value")
    if field is None:
        raise PayloadError(f"{name!r} has no value")
    if name in known:
        raise PayloadError(f"{name!r} occurs twice")
    return field
