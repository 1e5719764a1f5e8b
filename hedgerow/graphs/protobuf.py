"""A graph's bytes, read one field at a time: a number in them never decides how much memory is taken.

The field numbers are those of ONNX's `onnx.proto`, of the fields that `hedgerow export` writes. Every other
field is refused: among them external data, functions, sparse tensors and whatever a later version adds.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from hedgerow.graphs.errors import BadGraphs

Bytes: TypeAlias = memoryview

_VARINT, _BYTES, _FIXED32 = 0, 2, 5
_TOP = 2**63


class Field(NamedTuple):
    """A field of a message.

    Attributes:
        name: ONNX's.
        kind: `"int"`, `"float"`, `"bytes"`, or the name of a message.
        repeated: whether there may be several.
    """

    name: str
    kind: str
    repeated: bool = False


MESSAGES: dict[str, dict[int, Field]] = {
    "ModelProto": {
        1: Field("ir_version", "int"),
        2: Field("producer_name", "bytes"),
        7: Field("graph", "GraphProto"),
        8: Field("opset_import", "OperatorSetIdProto", True),
        14: Field("metadata_props", "StringStringEntryProto", True),
    },
    "OperatorSetIdProto": {1: Field("domain", "bytes"), 2: Field("version", "int")},
    "StringStringEntryProto": {1: Field("key", "bytes"), 2: Field("value", "bytes")},
    "GraphProto": {
        1: Field("node", "NodeProto", True),
        2: Field("name", "bytes"),
        5: Field("initializer", "TensorProto", True),
        11: Field("input", "ValueInfoProto", True),
        12: Field("output", "ValueInfoProto", True),
    },
    "NodeProto": {
        1: Field("input", "bytes", True),
        2: Field("output", "bytes", True),
        4: Field("op_type", "bytes"),
        5: Field("attribute", "AttributeProto", True),
    },
    "AttributeProto": {
        1: Field("name", "bytes"),
        2: Field("f", "float"),
        3: Field("i", "int"),
        4: Field("s", "bytes"),
        5: Field("t", "TensorProto"),
        6: Field("g", "GraphProto"),
        8: Field("ints", "int", True),
        20: Field("type", "int"),
    },
    "TensorProto": {
        1: Field("dims", "int", True),
        2: Field("data_type", "int"),
        8: Field("name", "bytes"),
        9: Field("raw_data", "bytes"),
    },
    "ValueInfoProto": {1: Field("name", "bytes"), 2: Field("type", "TypeProto")},
    "TypeProto": {1: Field("tensor_type", "Tensor")},
    "Tensor": {1: Field("elem_type", "int"), 2: Field("shape", "TensorShapeProto")},
    "TensorShapeProto": {1: Field("dim", "Dimension", True)},
    "Dimension": {1: Field("dim_value", "int")},
}
"""The fields of each message, by number; `Tensor` and `Dimension` are nested ones."""


def fields(message: str, data: Bytes) -> Iterator[tuple[str, Any]]:
    """`(name, value)` of each field in order: a whole number, or the bytes of anything else.

    Raises:
        BadGraphs: the bytes are cut off, or have a field that is unknown, twice there or of another form.

    >>> list(fields("Dimension", memoryview(bytes([8, 150, 1]))))
    [('dim_value', 150)]
    """
    known, there, place = MESSAGES[message], set[int](), 0
    while place < len(data):
        tag, place = _varint(data, place)
        number, form = tag >> 3, tag & 7
        if (field := known.get(number)) is None:
            raise BadGraphs(f"it has field {number} of ONNX's {message}, which no export writes")
        if number in there and not field.repeated:
            raise BadGraphs(f"it has {field.name} of {message} twice")
        there.add(number)
        if field.kind == "int" and form == _VARINT:
            value, place = _varint(data, place)
            yield field.name, _signed(value)
        elif field.kind == "float" and form == _FIXED32:
            part, place = _part(data, place, 4)
            yield field.name, part
        elif form == _BYTES and (field.kind not in ("int", "float") or field.repeated):
            length, place = _varint(data, place)
            part, place = _part(data, place, length)
            if field.kind == "int":
                yield from ((field.name, each) for each in _packed(part))
            else:
                yield field.name, part
        else:
            raise BadGraphs(f"{field.name} of {message} has wire type {form}, which no export writes")


def collect(message: str, data: Bytes, most: int = 16) -> Mapping[str, Any]:
    """All fields of a small message: repeated ones as lists, of at most `most`.

    Raises:
        BadGraphs: as `fields`, or there are more.
    """
    repeated = {field.name for field in MESSAGES[message].values() if field.repeated}
    found: dict[str, Any] = {name: [] for name in repeated}
    for name, value in fields(message, data):
        if name not in repeated:
            found[name] = value
        elif len(found[name]) < most:
            found[name].append(value)
        else:
            raise BadGraphs(f"{name} of {message} has more than {most} values")
    return found


def text(data: Bytes) -> str:
    """A name: 1 to 300 printable characters; raises `BadGraphs`."""
    try:
        found = bytes(data[:1000]).decode()
    except UnicodeDecodeError:
        raise BadGraphs("a name in it is no text") from None
    if len(data) > 1000 or not 0 < len(found) <= 300 or not found.isprintable():
        raise BadGraphs("a name in it is empty, longer than 300 characters, or cannot be printed")
    return found


def _varint(data: Bytes, place: int) -> tuple[int, int]:
    """An unsigned number of up to 64 bits, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            raise BadGraphs("it is cut off in a number")
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            if value >= 2 * _TOP:
                break
            return value, place
    raise BadGraphs("a number in it has more than 64 bits")


def _signed(value: int) -> int:
    return value - 2 * _TOP if value >= _TOP else value


def _packed(data: Bytes) -> Iterator[int]:
    place = 0
    while place < len(data):
        value, place = _varint(data, place)
        yield _signed(value)


def _part(data: Bytes, place: int, length: int) -> tuple[Bytes, int]:
    if length > len(data) - place:
        raise BadGraphs("it is cut off: a field says that it is longer than what is there")
    return data[place : place + length], place + length
